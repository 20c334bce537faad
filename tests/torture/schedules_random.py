"""Fault schedules that nobody thought of: whatever can happen to a shop, one after the other, drawn from a seed."""

import math
import random
from collections.abc import Callable
from contextlib import suppress

from shop.errors import Conflict
from tests.torture.schedules import FullDisk, recovers, sells
from tests.torture.schedules_history import History
from tests.torture.schedules_world import World

EVENTS = 25

Event = Callable[[World, random.Random], object]


def run(seed: int) -> History:
    """From a healthy shop through all of it to a healthy shop."""
    chance = random.Random(seed)
    world = World(f"random {seed}", delay=chance.choice([0.0, 0.2, 1.0, 5.0]))
    world.start()
    sells(world)
    with world.fault("everything"):
        for _ in range(EVENTS):
            chance.choice(ANYTHING)(world, chance)
        make_good(world)
    recovers(world)
    return world.end()


def make_good(world: World) -> None:
    FullDisk(world, tries=0)
    for turn in (world.replication.laboratory.set_jitter, world.replication.laboratory.set_bandwidth):
        turn(0)
    world.replication.laboratory.set_loss(0)
    world.replication.laboratory.mend()
    world.replication.resume()


def sell(world: World, chance: random.Random) -> None:
    world.run(chance.random() * 4, every=chance.choice([0.02, 0.1, 0.5]))


def burst(world: World, chance: random.Random) -> None:
    for _ in range(chance.randrange(80)):
        world.commit()


def cut(world: World, chance: random.Random) -> None:
    world.replication.laboratory.cut(chance.choice([0.5, 3.0, 20.0]))


def knobs(world: World, chance: random.Random) -> None:
    world.replication.laboratory.set_jitter(chance.random())
    world.replication.laboratory.set_bandwidth(chance.choice([0, 5_000, 100_000]))
    world.replication.laboratory.set_loss(chance.choice([0, 20]))


def full(world: World, chance: random.Random) -> None:
    FullDisk(world, tries=chance.choice([1, 3, math.inf]))


def restart(world: World, chance: random.Random) -> None:
    world.stop(killed=chance.random() < 0.5)
    world.clock.advance(chance.choice([0.0, 0.5, 30.0]))
    world.start(out_for=chance.choice([0.0, 0.0, 2.0]))


def hurry(world: World, chance: random.Random) -> None:
    world.history.copies.append(world.now)
    with suppress(Conflict):  # the disk is full
        world.replication.sync_now()


def rebuild(world: World, chance: random.Random) -> None:
    with suppress(Conflict):
        world.resync()


ANYTHING: tuple[Event, ...] = (
    sell,
    burst,
    cut,
    knobs,
    full,
    restart,
    hurry,
    rebuild,
    lambda world, chance: world.replication.laboratory.mend(),
    lambda world, chance: world.replication.pause(),
    lambda world, chance: world.replication.resume(),
    lambda world, chance: world.replication.verify(),
    lambda world, chance: world.run(10.0),
)
