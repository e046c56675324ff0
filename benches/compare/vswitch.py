"""Open vSwitch with DPDK and connection tracking, on a source of its own in the same run."""

import os
import re
import subprocess
import time

from programs import Failed, Program
from rows import row

FLOWS = (
    "table=0,ip,ct_state=-trk,actions=ct(table=1)",
    "table=0,priority=0,actions=output:2",
    "table=1,ip,ct_state=+trk+new,actions=ct(commit),output:2",
    "table=1,ip,ct_state=+trk-new,actions=output:2",
)


def vswitch(bench):
    """Frames through a bridge that tracks connections: cycles of its polling thread."""
    if not any(os.access(f"{place}/ovs-vswitchd-dpdk", os.X_OK)
               for place in ("/usr/lib/openvswitch-switch-dpdk",)):
        bench.absent("vswitch/conntrack", "openvswitch-switch-dpdk is not installed")
        return
    try:
        samples = measure(bench)
    except (Failed, subprocess.CalledProcessError) as error:
        bench.absent("vswitch/conntrack", str(error).splitlines()[-1])
        return
    bench.add(row("vswitch/conntrack/10000", samples, None, bench.ghz, flows=10_000, frame_bytes=60,
                  peer="Open vSwitch 3.1 with DPDK, conntrack"))


def measure(bench):
    """Cycles a packet of several windows."""
    work = f"{bench.work}/ovs"
    os.makedirs(work, exist_ok=True)
    environment = {**os.environ, "OVS_RUNDIR": work, "OVS_LOGDIR": work, "OVS_DBDIR": work}

    def run(*words):
        return subprocess.run(words, env=environment, check=True, capture_output=True, text=True,
                              timeout=60).stdout
    database, socket = f"{work}/conf.db", f"{work}/db.sock"
    run("ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema")
    control = ("ovs-vsctl", f"--db=unix:{socket}")
    with Program(["ovsdb-server", database, f"--remote=punix:{socket}",
                  f"--unixctl={work}/ovsdb.ctl"], "ovsdb-server", env=environment) as server:
        server.until(lambda: os.path.exists(socket))
        run(*control, "--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
            f"other_config:pmd-cpu-mask={1 << bench.core:#x}",
            "other_config:dpdk-extra=--no-pci --in-memory --no-telemetry",
            "other_config:dpdk-socket-mem=512")
        with Program(["/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk", f"unix:{socket}",
                      f"--unixctl={work}/switch.ctl"], r"pmd-c\d+.*",
                     env=environment) as switch:
            switch.until(lambda: os.path.exists(f"{work}/switch.ctl"))
            run(*control, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
            devices = (f"net_pcap0,rx_pcap={bench.work}/acks_10000.pcap,infinite_rx=1",
                       "net_null1,no-rx=1")
            for number, device in enumerate(devices, 1):
                run(*control, "add-port", "br0", f"p{number}", "--", "set", "Interface",
                    f"p{number}", "type=dpdk", f'options:dpdk-devargs="{device}"',
                    f"ofport_request={number}")
                error = run(*control, "get", "Interface", f"p{number}", "error").strip()
                if error != "[]":
                    raise Failed(error)
            run("ovs-ofctl", "del-flows", f"unix:{work}/br0.mgmt")
            for flow in FLOWS:
                run("ovs-ofctl", "add-flow", f"unix:{work}/br0.mgmt", flow)
            time.sleep(2)
            return [window(bench, switch, run, work) for _ in range(bench.rounds)]


def window(bench, switch, run, work):
    """One window: received packets as the thread counts them, and its processor time."""
    control = ("ovs-appctl", f"--target={work}/switch.ctl")
    received = lambda: int(re.search(r"packets received: (\d+)",
                                     run(*control, "dpif-netdev/pmd-stats-show"))[1])
    packets, cpu = received(), switch.cpu_ns()
    time.sleep(max(bench.seconds, 1))
    packets, cpu = received() - packets, switch.cpu_ns() - cpu
    if packets <= 0:
        raise Failed("no packets were received")
    return cpu * bench.ghz / packets
