"""Lists in the grammar of exchanges' files, with invented addresses."""

CME = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment -->
<configuration environment="Test" updated="2026/01/02-03:04:05">
  <channel id="10" label="Tulip Futures &amp; Options">
    <products><product code="TU"><group code="$T"/></product></products>
    <connections>
      <connection id="10H1A">
        <type feed-type="H">Historical Replay</type>
        <protocol>TCP/IP</protocol>
        <host-ip>192.0.2.80</host-ip><host-ip>192.0.2.81</host-ip>
        <port>10000</port><feed>A</feed>
      </connection>
      <connection id="10IA">
        <type feed-type="I">Incremental</type>
        <protocol>UDP/IP</protocol>
        <ip>224.0.31.1</ip>
        <host-ip>192.0.2.7</host-ip><host-ip>192.0.2.6</host-ip>
        <port>14310</port><feed>A</feed>
      </connection>
      <connection id="10IB">
        <type feed-type="I">Incremental</type>
        <protocol>UDP/IP</protocol>
        <ip> 224.0.32.1 </ip>
        <host-ip>192.0.2.9</host-ip>
        <port>15310</port><feed>B</feed>
      </connection>
      <connection id="10NA">
        <type feed-type="N">Instrument  Replay</type>
        <protocol>UDP/IP</protocol>
        <ip>224.0.31.43</ip>
        <host-ip>192.0.2.7</host-ip>
        <port>14310</port><feed>A</feed>
      </connection>
      <connection id="10SAMBO">
        <type feed-type="SMBO">Snapshot-MBO</type>
        <protocol>UDP/IP</protocol>
        <ip>224.0.31.43</ip>
        <host-ip>192.0.2.8</host-ip>
        <port>23310</port><feed>A</feed>
      </connection>
      <connection id="10SBMBO">
        <type feed-type="SMBO">Snapshot-MBO</type>
        <protocol>UDP/IP</protocol>
        <ip>224.0.32.64</ip>
        <port>22310</port><feed>B</feed>
      </connection>
    </connections>
  </channel>
  <channel id="9" label="Bulbs">
    <connections>
      <connection id="9IA">
        <type feed-type="I">Incremental</type>
        <protocol>UDP/IP</protocol>
        <ip>224.0.31.9</ip>
        <port>14309</port><feed>A</feed>
      </connection>
    </connections>
  </channel>
</configuration>
"""

SPECTRA = """\
<?xml version="1.0" encoding="utf-8"?>
<?xml-stylesheet href="util/list.xsl" type="text/xsl"?><configuration type="Test" label="Test System" marketId="TEST">

	<MarketDataGroup feedType="ORDERS-LOG" marketID="D" label="Full orders log">
		<connections>
			<connection>
				<type>Incremental</type><protocol>UDP/IP</protocol>
				<src-ip>198.51.100.1</src-ip><ip>239.192.70.40</ip><port>40040</port><feed>A</feed>
			</connection>
			<connection>
				<type>Incremental</type><protocol>UDP/IP</protocol>
				<src-ip>198.51.100.2</src-ip><ip>239.192.175.40</ip><port>41040</port><feed>B</feed>
			</connection>
			<connection>
				<type>Snapshot</type><protocol>UDP/IP</protocol>
				<src-ip>198.51.100.1</src-ip><ip>239.192.70.41</ip><port>40041</port><feed>A</feed>
			</connection>
			<connection>
				<type>Historical Replay</type><protocol>TCP/IP</protocol>
				<ip>198.51.100.9</ip><port>8001</port>
			</connection>
		</connections>
	</MarketDataGroup>
</configuration>
"""

ASTS = """\
<?xml version="1.0" encoding="windows-1251"?>
<!DOCTYPE configuration SYSTEM "list.dtd">
<m:configuration xmlns:m="urn:example" environment="Test">
 <m:channel id="CURR" label="Рынок">
  <m:connection id="MSR">
   <m:type feed-type="Statistics Incremental">I</m:type>
   <m:protocol>UDP/IP</m:protocol>
   <m:feed id="A"><m:src-ip>198.51.100.3</m:src-ip><m:ip>239.195.1.107</m:ip><m:port>16107</m:port></m:feed>
   <m:feed id="B"><m:src-ip></m:src-ip><m:ip>239.195.1.235</m:ip><m:port>17107</m:port></m:feed>
  </m:connection>
  <m:connection id="MSS">
   <m:type feed-type="Statistics Snapshot">S</m:type>
   <m:protocol>UDP/IP</m:protocol>
   <m:feed id="A"><m:src-ip>198.51.100.3</m:src-ip><m:ip>239.195.1.108</m:ip><m:port>16108</m:port></m:feed>
   <m:feed id="B"><m:src-ip></m:src-ip><m:ip></m:ip><m:port>9028</m:port></m:feed>
  </m:connection>
 </m:channel>
</m:configuration>
"""

CSV = """\
# the list of a venue
Name,Multicast Group,UDP Port,Source IP,Side,Format
Equities,239.1.1.1,5000,192.0.2.1; 192.0.2.2,A,pitch
Equities,239.1.1.2,5000,192.0.2.1,B,PITCH
Indices,239.1.1.3:6000,,,,
Indices,239.1.1.4,6000,n/a,B,
"""

WIDE = """\
Channel;Feed A IP;Feed A Port;Feed B IP;Feed B Port;Sequence
1;239.2.1.1;7001;239.2.2.1;7002;moldudp64
2;239.2.1.2;7001;-;-;moldudp64
"""
