"""What of the machine is left to each kind of source."""

from pathlib import Path
from socket import AF_INET, AF_INET6, AF_NETLINK, AF_UNIX

import pytest

from hwentropyd.collector.reach import of_source, of_supervisor
from hwentropyd.confinement import Reach


@pytest.mark.parametrize(
    ("tcti", "reach"),
    [
        ("device:/dev/tpmrm1", Reach((Path("/dev/tpmrm1"),))),
        ("pcap:device:/dev/tpm0", Reach((Path("/dev/tpm0"),))),
        ("swtpm:path=/run/sock", Reach((), (AF_UNIX,))),
        ("tabrmd:bus_name=com.intel.tss2.Tabrmd", Reach((), (AF_UNIX,))),
        ("tabrmd", Reach((), (AF_UNIX,))),
        ("swtpm:host=localhost,port=2321", Reach((), (AF_UNIX, AF_INET, AF_INET6))),
        ("mssim", Reach((), (AF_UNIX, AF_INET, AF_INET6))),
        ("cmd:tpm2-send", Reach((), (AF_UNIX,), programs=True)),
    ],
)
def test_a_tpm_reaches_what_its_tcti_leads_to(tcti: str, reach: Reach) -> None:
    """A device alone, or the sockets alone; the network only where it is named."""
    assert of_source("tpm2", {"tcti": tcti}) == reach


def test_a_tpm_that_is_looked_for_is_one_of_those_there() -> None:
    """Not all of /dev, and no socket."""
    reach = of_source("tpm2", {})
    assert set(reach.devices) == set(Path("/dev").glob("tpmrm*"))
    assert not reach.families


def test_a_plug_in_reaches_devices_and_the_files_that_its_table_names(tmp_path: Path) -> None:
    """A file that is not there yet is looked for in its directory; there is no network."""
    here = tmp_path / "here"
    here.touch()
    table = {"a": str(here), "b": str(tmp_path / "sub" / "later"), "c": "word", "d": 7}
    reach = of_source("another's", table)
    assert set(reach.devices) == {Path("/dev"), here, tmp_path / "sub"}
    assert reach.families == (AF_UNIX, AF_NETLINK)
    assert reach.programs
    assert not reach.network


def test_the_supervisor_reaches_what_all_its_sources_do() -> None:
    """No more than that: a plain one needs neither network nor programs."""
    plain = of_supervisor([("os", {}), ("hwrng", {})])
    assert plain == Reach((Path("/dev"),), (AF_UNIX, AF_NETLINK))
    assert of_supervisor([("os", {}), ("tpm2", {"tcti": "mssim"})]).network
    assert of_supervisor([("os", {}), ("another's", {})]).programs
