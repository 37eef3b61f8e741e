"""For people: doctor, trace, the importer and what is made for the other side. The daemon imports none of it."""
