"""What the benchmark says of its runs: the statistics, the tables, the aims and the picture, on made-up figures."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # benchmarks/ is not installed: it is run from the tree

from benchmarks import aims, capacity, faults, load, operations, plot, report, scales
from benchmarks.bench import CLIENTS, to_point, with_ratio
from benchmarks.load import Answer, Event, Request, Sample, Shift, Target, WrongAnswerError
from benchmarks.points import SHAPES, CatchUp, Pause, Point, Results, Store, at_clients, at_size, spread
from benchmarks.usage import Cpu, Machine

MACHINE = Machine("a processor", 2, 24.0, "Linux", "3.11.7", "3.40.1", 0.1)


def point(what: str, *, clients: int = CLIENTS, ratio: float = 0.1, cpu_ms: float = 1.0, rate: float = 100.0, p50_ms: float = 2.0) -> Point:
    return Point(
        what=what,
        clients=clients,
        requests=100,
        rate=rate,
        p50_ms=p50_ms,
        p99_ms=9.0,
        base=at_clients("floor", 1 if clients == 1 else CLIENTS),
        ratio=ratio,
        generator_cpu_ms=0.1,
        generator_share=0.05,
        front_cpu_ms=cpu_ms / 2,
        coordinator_cpu_ms=cpu_ms / 4,
        peers_cpu_ms=cpu_ms / 4,
    )


def pause(later_p99_ms: float, what: str = "get, another paused") -> Pause:
    return Pause(
        what=what, requests=10, refused=1, healthy_p99_ms=10.0, first_second_p99_ms=90.0, later_p99_ms=later_p99_ms, longest_ms=95.0
    )


def made_up() -> Results:
    """Three runs of everything that tables, aims and picture need."""
    whats = [
        *(at_clients(operation, clients) for operation in plot.OPERATIONS for clients in (1, *operations.CLIENT_COUNTS)),
        *plot.FILES,
        *(at_size(operation, count) for operation in ("get", "update") for count in (100, 1_000)),
        *(shape.point(operation) for operation in capacity.OPERATIONS for shape in SHAPES),
        *(f"{operation}, {age}" for operation in ("get", "update") for age in ("1 version", "100 versions")),
    ]
    points = [point(what, clients=1 if "32" not in what else CLIENTS, ratio=ratio) for what in whats for ratio in (0.3, 0.1, 0.2)]
    floors = [point(at_clients("floor", clients), clients=clients, ratio=1.0) for clients in (1, CLIENTS)]
    stores = [
        Store(secrets=count, versions=count, node_megabytes=[50.0] * 5, gateway_megabytes=60.0, node_disk_bytes=[2_000 * count] * 5)
        for count in (100, 1_000)
    ]
    catch_ups = [CatchUp(what="get, a node catches up", missed=100, missing_before=90, missing_after=10)]
    return Results(
        machine=MACHINE,
        seconds=1.5,
        points=[*floors, *points],
        pauses=[pause(15.0), pause(25.0), pause(18.0)],
        catch_ups=catch_ups,
        stores=stores,
    )


def test_a_spread_is_median_minimum_and_maximum_and_of_one_run_only_its_figure() -> None:
    assert spread([3.0, 1.0, 2_000.0], 0) == "3 (1 - 2,000)"
    assert spread([3.0], 1) == "3.0"


def test_quantiles_are_of_the_answers_in_order_of_latency() -> None:
    answers = [Answer(0.0, seconds / 1000) for seconds in range(100, 0, -1)]
    assert load.quantile_ms(answers, 0.5) == pytest.approx(51)
    assert load.quantile_ms(answers, 0.99) == pytest.approx(100)
    assert load.quantile_ms(answers, 1.0) == pytest.approx(100)
    assert load.quantile_ms(answers[:1], 0.99) == pytest.approx(100)


def test_the_busiest_node_counts_as_the_one_that_coordinates() -> None:
    spent = Cpu(3.0, (1.5, 4.0, 2.5)).since(Cpu(1.0, (1.0, 1.0, 2.0)))
    found = to_point("get", "floor, 32 clients", CLIENTS, Sample([Answer(0.0, 0.1, refused=True), Answer(0.1, 0.3)], 2.0, 0.5), spent)
    assert spent.by_work[0] == 1
    assert (found.front_cpu_ms, found.coordinator_cpu_ms, found.peers_cpu_ms) == (1000.0, 1500.0, 500.0)
    assert (found.rate, found.requests, found.refused, found.generator_share) == (1.0, 2, 1, 0.25)


def test_one_client_is_set_against_the_floor_by_p50_and_many_by_rate() -> None:
    floors = [point("floor", rate=900.0, p50_ms=1.0), point("floor", rate=1_100.0, p50_ms=3.0)]
    assert with_ratio(point("get", clients=1, p50_ms=8.0), floors).ratio == 4.0
    assert with_ratio(point("get", rate=250.0), floors).ratio == 0.25


def test_a_pause_is_judged_by_what_was_sent_before_across_and_after_it() -> None:
    paused, later = faults.PAUSE_AT, faults.PAUSE_AT + faults.SECOND
    answers = [
        Answer(0.0, 0.4),  # warming up
        Answer(paused - 0.5, 0.01),
        Answer(paused - 0.1, 3.0),  # under way as the node stopped
        Answer(paused + 0.5, 0.2, refused=True),
        Answer(later, 0.02),
    ]
    found = faults.to_pause("get, another paused", Sample(answers, 5.0, 1.0))
    assert (found.requests, found.refused) == (4, 1)
    assert found.healthy_p99_ms == pytest.approx(10)
    assert found.first_second_p99_ms == pytest.approx(3_000)
    assert found.later_p99_ms == pytest.approx(20)
    assert found.longest_ms == pytest.approx(3_000)
    assert found.ratio == pytest.approx(2)


def test_every_point_names_the_base_of_its_ratio_and_that_was_measured() -> None:
    results = made_up()
    assert {each.base for each in results.points} <= {each.what for each in results.points}


def test_the_table_has_a_row_for_each_point_with_median_ratio_and_verdict() -> None:
    block = report.markdown(made_up())
    rows = [line for line in block.splitlines() if line.startswith("| get, 32 clients |")]
    assert len(rows) == 1
    assert "| 3 |" in rows[0]
    assert "0.20 (0.10 - 0.30) | >= 0.5: not met" in rows[0]
    assert "| floor, 32 clients | 1 | 100 | 2.00 | 9.0 | 1 |" in block
    tables = [line.count("|") for line in block.splitlines() if line.startswith("|---")]
    assert len(tables) == 5


def test_aims_are_judged_by_the_median_run() -> None:
    found = {aim.what: aim for aim in aims.judge(made_up())}
    assert found["get, another paused, p99 after the first second to the healthy p99"].met  # 15, 18 and 25 ms against 10
    assert not found["create, 32 clients, to the floor"].met
    assert found["get, 1 client, to the floor"].met
    assert found["memory of a node with 1,000 secrets to 100"].found == 1.0
    assert str(found["get, 32 clients, to the floor"]) == "get, 32 clients, to the floor: 0.20, >= 0.5 wanted: not met"


def test_an_aim_whose_point_was_not_measured_is_an_error() -> None:
    with pytest.raises(KeyError, match="get, 32 clients"):
        aims.judge(Results(machine=MACHINE, seconds=1.5, points=[point("floor, 32 clients")]))


def test_capacity_follows_from_the_cpu_time_of_one_operation() -> None:
    found = {(each.operation, each.shape): each for each in capacity.capacities(made_up())}
    get, create = found["get", SHAPES[1]], found["create", SHAPES[1]]
    assert (get.gateway_rate, get.nodes_rate, get.gateways) == (2_000.0, 10_000.0, 5.0)
    assert (get.peers_asked, create.peers_asked) == (2, 4)
    assert (get.peer_ms, create.peer_ms) == (0.125, 0.0625)


def test_the_figures_replace_what_stands_between_the_markers(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.update(document, "new\n")
    report.update(document, "newer\n")
    assert document.read_text() == f"before\n{report.BEGIN}\nnewer\n{report.END}\nafter\n"


@pytest.mark.parametrize("text", ["nothing", report.BEGIN, f"{report.END}\n{report.BEGIN}\n", f"{report.BEGIN}\n{report.END}\n" * 2])
def test_a_document_without_one_pair_of_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    document = tmp_path / "performance.md"
    document.write_text(text)
    with pytest.raises(report.MarkersError):
        report.update(document, "new\n")
    assert document.read_text() == text


def test_the_document_has_a_place_for_the_figures(tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    copy.write_text((Path(__file__).parent.parent / "docs" / "performance.md").read_text("utf-8"), "utf-8")
    report.update(copy, "figures\n")
    assert f"{report.BEGIN}\nfigures\n{report.END}" in copy.read_text("utf-8")


def test_the_picture_is_an_svg_with_a_bar_for_each_ratio_and_a_line_for_each_aim() -> None:
    picture = ElementTree.fromstring(plot.svg(made_up()))
    space = "{http://www.w3.org/2000/svg}"
    bars = [each for each in picture.iter(f"{space}rect") if each.get("fill") != "white"]
    assert len(bars) == 2 * len(plot.OPERATIONS) + len(plot.FILES)
    assert len([each for each in picture.iter(f"{space}line") if each.get("stroke") == "#c53030"]) == len(aims.RATIOS)
    assert len(list(picture.iter(f"{space}polyline"))) == 2


@pytest.mark.parametrize(
    ("axis", "places"), [(plot.linear([0.5]), {0.0: 0.0, 0.3: 0.5, 9.0: 1.0}), (plot.logarithmic([90.0]), {1.0: 0.0, 10.0: 0.5})]
)
def test_an_axis_begins_at_the_label_and_ends_with_its_last_mark(axis: plot.Axis, places: dict[float, float]) -> None:
    for value, share in places.items():
        assert axis.place(value) == pytest.approx(plot.LABEL_WIDTH + share * plot.BAR_WIDTH)


def test_a_run_is_written_as_json_that_reads_back() -> None:
    results = made_up()
    assert msgspec.json.decode(results.json(), type=Results) == results


@pytest.mark.parametrize("scale", [scales.QUICK, scales.DEFAULT, scales.FULL])
def test_every_scale_measures_three_runs_and_growing_stores(scale: scales.Scale) -> None:
    assert scale.rounds == 3
    assert list(scale.stores) == sorted(scale.stores)
    assert len(scale.stores) >= 2


@pytest.fixture
def echo() -> Iterator[Target]:
    """A server that answers every request 200 with the path as its body, or 503 where the path is /down."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while head := connection.recv(4096):
                path = head.split()[1]
                status = b"503 No" if path == b"/down" else b"200 OK"
                connection.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(path), path))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield Target("127.0.0.1", listener.getsockname()[1], "/hello")
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def ask(path: bytes, count: int, wanted: bytes | None = None) -> Iterator[Request]:
    for _ in range(count):
        yield Request(b"GET %b HTTP/1.1\r\n\r\n" % path, lambda status, body: (status, body) == (200, wanted or path))


def test_a_run_has_an_answer_for_each_request_of_each_client(echo: Target) -> None:
    sample = load.run(echo, [ask(b"/a", 3), ask(b"/b", 4), ask(b"/c", 0)])
    assert len(sample.answers) == 7
    assert all(0 <= answer.sent <= answer.received <= sample.seconds for answer in sample.answers)


def test_shifts_and_events_happen_in_their_order(echo: Target) -> None:
    seen: list[str] = []

    def told(name: str) -> Iterator[Request]:
        seen.append(name)
        yield from ask(b"/a", 1)

    first, second = (load.connect(echo, [told(name)]) for name in ("first", "second"))
    load.drive([Shift(second, begin=0.1), Shift(first)], [Event(0.05, lambda: seen.append("event"))])
    assert seen == ["first", "event", "second"]


def test_a_wrong_answer_ends_the_run(echo: Target) -> None:
    with pytest.raises(WrongAnswerError, match="status 200"):
        load.run(echo, [ask(b"/a", 3, b"/b")])


def test_a_refusal_is_counted_only_where_faults_are_measured(echo: Target) -> None:
    sample = load.drive([Shift(load.connect(echo, [ask(b"/down", 2)], refusals=True))])
    assert [answer.refused for answer in sample.answers] == [True, True]
    with pytest.raises(WrongAnswerError, match="status 503"):
        load.run(echo, [ask(b"/down", 1)])
