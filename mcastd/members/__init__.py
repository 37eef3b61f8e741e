"""What machines want whose IGMP does not come to this host: a cloud's gateway knows it, a hook writes it into a file.

    file      the file's format -> groups, or where it is wrong and what is allowed
    files     what the agent uses of the host
    agent     reads the files, and desires what they name with the origin ``members``

A file that cannot be read, is wrong or is too old changes nothing: what it said when it was right goes on.
"""
