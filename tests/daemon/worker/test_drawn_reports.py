"""Bytes are reported as they are drawn, however small the requests: limits in bytes hold."""

from hwentropy_core.limits import SMALL_BYTES
from hwentropy_core.page import PageReader, PageWriter
from hwentropyd.worker.drbg import REPORT_BYTES, WorkerDrbg


def test_small_requests_report_too() -> None:
    """Every REPORT_BYTES: at 1 KiB a request a worker draws 50 MB between two pings."""
    page = PageWriter()
    reports: list[int] = []
    generator = WorkerDrbg(PageReader(page.fd), lambda: reports.append(generator.take_drawn()))
    generator.seed(1, bytearray(32))
    page.generation = 1
    out = memoryview(bytearray(SMALL_BYTES))
    for _ in range(2 * REPORT_BYTES // SMALL_BYTES):
        generator.read_into(out)
    assert reports == [REPORT_BYTES, REPORT_BYTES]
    assert generator.drawn == 2 * REPORT_BYTES
