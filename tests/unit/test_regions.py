"""The tables of docs/scale.md are what the program computes."""

from bench import regions


def test_the_page_holds_the_tables_that_the_program_makes():
    page = regions.PAGE.read_text(encoding="utf-8")

    for name in ("load", "regions"):  # the others take longer, and are made by the same simulation
        assert f"<!-- table: {name} -->\n{regions.TABLES[name]()}\n<!-- end -->" in page, (
            "python -m bench.regions --write"
        )


def test_nothing_is_stale_nearby_and_distance_makes_it_so():
    frankfurt, *others = regions.REGIONS
    assert regions.round_trip(frankfurt, frankfurt) == 0

    seen = regions.simulate((frankfurt, *others), 100)

    by_distance = sorted(seen, key=lambda one: one.round_trip)
    assert [one.stale_p50 for one in by_distance] == sorted(one.stale_p50 for one in seen)
    assert all(one.stale_p50 < one.round_trip for one in seen)


def test_a_replay_that_cannot_keep_up_makes_visitors_fall_back():
    two = regions.REGIONS[:2]

    (good,) = regions.simulate(two, 1_000)
    (bad,) = regions.simulate(two, 1_000, apply=0.0011)

    assert good.falls_back == 0
    assert bad.falls_back > 0.2
