import asyncio

from prometheus_client.parser import text_string_to_metric_families

from models.photo.quality import Quality
from service.observe.metrics import CATALOGUE, Metrics, QueueMetrics, StageTimes

TIMES = StageTimes(decode_s=0.1, detect_s=0.2, align_s=0.3, queue_s=0.4, forward_s=0.5)


def value(metrics: Metrics, sample: str, **labels: str) -> float:
    for family in text_string_to_metric_families(metrics.render().decode()):
        for found in family.samples:
            if found.name == sample and found.labels == labels:
                return found.value
    raise AssertionError(f"{sample} {labels} is not shown")


def test_names_are_those_of_the_catalogue() -> None:
    lines = Metrics().render().decode().splitlines()
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == set(CATALOGUE)


def test_two_apps_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.store_up(3)
    assert value(two, "likeness_templates") == 0


def test_requests_are_counted_by_route_and_code() -> None:
    metrics = Metrics()
    metrics.request("/verify", 200, 0.1)
    metrics.request("/verify", 422, 0.1)
    assert value(metrics, "likeness_requests_total", route="/verify", code="422") == 1


def test_requests_are_timed_by_route() -> None:
    metrics = Metrics()
    metrics.request("/verify", 200, 0.25)
    assert value(metrics, "likeness_request_seconds_sum", route="/verify") == 0.25


def test_every_stage_of_a_photo_is_observed() -> None:
    metrics = Metrics()
    metrics.stages(TIMES, faces=2)
    stages = ("decode", "detect", "align", "queue", "forward")
    seconds = [value(metrics, "likeness_stage_seconds_sum", stage=stage) for stage in stages]
    assert seconds == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_faces_are_observed() -> None:
    metrics = Metrics()
    metrics.faces(0)
    assert value(metrics, "likeness_faces_found_bucket", le="0.0") == 1


def test_batches_larger_than_one_can_be_distinguished() -> None:
    metrics = Metrics()
    metrics.batch(5, 0.01)
    assert value(metrics, "likeness_batch_size_bucket", le="1.0") == 0


def test_decision_and_score_are_observed_together() -> None:
    metrics = Metrics()
    metrics.decided("match", 0.75, 0.7)
    counted = value(metrics, "likeness_decisions_total", decision="match")
    assert (counted, value(metrics, "likeness_score_bucket", le="0.75")) == (1, 1)


def test_margin_to_the_threshold_is_observed() -> None:
    metrics = Metrics()
    metrics.decided("match", 0.75, 0.74)
    inside = value(metrics, "likeness_score_margin_bucket", le="0.02")
    assert inside - value(metrics, "likeness_score_margin_bucket", le="0.0") == 1


def test_the_scale_of_quality_has_edges_for_each_measure() -> None:
    metrics = Metrics()
    metrics.quality(Quality(100, 7, 130, 40, 0, 0.05, 1, ()))
    found = {
        measure: value(metrics, "likeness_quality_bucket", measure=measure, le=edge)
        for measure, edge in (("face_px", "128.0"), ("sharpness", "8.0"), ("misfit", "0.06"))
    }
    assert found == {"face_px": 1, "sharpness": 1, "misfit": 1}


def test_events_that_never_happened_are_shown_as_zero() -> None:
    metrics = Metrics()
    never = [
        value(metrics, "likeness_problems_total", problem="device_lost"),
        value(metrics, "likeness_batch_failures_total", reason="stalled"),
        value(metrics, "likeness_shadow_dropped_total", reason="busy"),
    ]
    assert never == [0, 0, 0]


def test_every_label_of_the_catalogue_is_used() -> None:
    metrics = Metrics()
    metrics.request("/verify", 200, 0.1)
    metrics.loaded(**dict.fromkeys(CATALOGUE["likeness_build_info"].labels, "x"))
    shown = {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }
    for name in ("likeness_requests_total", "likeness_problems_total", "likeness_build_info"):
        assert shown[name] == set(CATALOGUE[name].labels)


def test_templates_are_those_of_the_last_answer_while_the_store_is_away() -> None:
    metrics = Metrics()
    metrics.store_up(3)
    metrics.store_up(None)
    shown = value(metrics, "likeness_store_up"), value(metrics, "likeness_templates")
    assert shown == (0, 3)


def test_drops_and_failures_have_reasons() -> None:
    metrics = Metrics()
    metrics.dropped("deadline")
    metrics.batch_failed("out_of_memory")
    dropped = value(metrics, "likeness_jobs_dropped_total", reason="deadline")
    failed = value(metrics, "likeness_batch_failures_total", reason="out_of_memory")
    assert (dropped, failed) == (1, 1)


def test_gauges_show_the_last_value() -> None:
    metrics = Metrics()
    metrics.batch_limit(8)
    metrics.batch_limit(4)
    metrics.inflight(3)
    names = ("likeness_batch_limit", "likeness_inflight")
    assert [value(metrics, name) for name in names] == [4, 3]


def test_queue_depth_is_that_of_all_queues_now() -> None:
    metrics = Metrics()
    one, two = QueueMetrics(metrics), QueueMetrics(metrics)
    one.queue_depth(7)
    two.queue_depth(3)
    one.queue_depth(2)
    assert value(metrics, "likeness_queue_depth") == 5


async def test_loop_lag_is_sampled_until_cancelled() -> None:
    metrics = Metrics()
    task = asyncio.create_task(metrics.sample_loop_lag(every_s=0.0))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert value(metrics, "likeness_loop_lag_seconds_count") >= 2


def test_when_a_series_was_created_is_left_out() -> None:
    metrics = Metrics()
    metrics.request("/verify", 200, 0.1)
    assert b"_created" not in metrics.render()
