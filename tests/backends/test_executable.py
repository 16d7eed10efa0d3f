"""Executables, the toolchain and the cache on hand-written C."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from needs import needs_compiler, needs_fork

from lamina.backends import cache, driver, toolchain
from lamina.backends.aligned_memory import aligned_array
from lamina.backends.executable import Executable, Quick, set_num_threads
from lamina.dialects import flags
from lamina.dialects.errors import BackendError
from lamina.dialects.types import bool_, float32, int64

ADD = """
#include <stdint.h>
int lamina_main(void **t) { const float *x = t[0], *y = t[1]; float *z = t[2]; for (int i = 0; i < 6; i++) z[i] = x[i] + y[i]; return 0; }
void lamina_main_pool(void *runner, void *whole) { (void)runner, (void)whole; }
"""
PARALLEL = """
#include <stdint.h>
typedef void (*range_body)(void *task, int64_t begin, int64_t end);
static void run_here(range_body body, void *task, int64_t count) { body(task, 0, count); }
static void (*parallel_for)(range_body, void *, int64_t) = run_here;
void lamina_main_pool(void *runner, void *whole) { (void)whole; if (runner) *(void **)&parallel_for = runner; else parallel_for = run_here; }
static void body(void *task, int64_t begin, int64_t end) { int64_t *y = task; for (int64_t i = begin; i < end; i++) y[i] += i; }
int lamina_main(void **t) {
    const int64_t *x = t[0]; int64_t *y = t[1];
    for (int i = 0; i < 1000; i++) y[i] = x[i];
    for (int n = 0; n < 50; n++) parallel_for(body, y, 1000);
    return 0;
}
"""


@pytest.fixture(scope="module", params=["python", "c"], autouse=True)
def called_by(request) -> Iterator[str]:
    """Whoever calls programs: everything here holds for both."""
    before = Quick.library
    Quick.library = None
    if request.param == "c" and toolchain.find_compiler() is not None:
        driver.recording_libraries()
        assert Quick.library is not None
    yield request.param
    Quick.library = before


def build(folder: Path, text: str, inputs, outputs) -> Executable:
    source = folder / "program.c"
    source.write_text(text)
    toolchain.build_shared(toolchain.find_compiler(), source, folder / "program.so")
    return Executable(folder / "program.so", inputs, outputs, 128)


@pytest.fixture
def add(tmp_path) -> Executable:
    t = ((2, 3), float32)
    return build(tmp_path, ADD, [t, t], [t])


@needs_compiler
def test_outputs_are_reused_only_when_nobody_holds_them(add):
    x, y = np.ones((2, 3), np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
    (first,) = add([x, y])
    (second,) = add([x, x])
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, x + y)
    view = first[0]
    address = first.ctypes.data
    del first
    (third,) = add([y, y])
    assert third.ctypes.data != address and np.array_equal(view, (x + y)[0])
    del view
    (fourth,) = add([y, x])
    assert fourth.ctypes.data == address


@needs_compiler
def test_strided_inputs_are_copied_and_wrong_ones_named(add):
    x = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2]
    np.testing.assert_array_equal(add([x, x])[0], x + x)
    np.testing.assert_array_equal(add([np.asfortranarray(x), x])[0], x + x)
    with pytest.raises(BackendError, match=r"input 1 of the program is float32\[2, 3\], got float32\[3, 2\]"):
        add([x, x.T])
    with pytest.raises(BackendError, match="takes 2 arrays, got 1"):
        add([x])


@needs_compiler
def test_an_input_changed_in_place_is_read_anew(add):
    x, y = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    add([x, y])
    x += 1
    np.testing.assert_array_equal(add([x, y])[0], np.full((2, 3), 3.0))


@needs_compiler
def test_outputs_fed_back_as_inputs(add):
    x, one = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    for step in range(10):
        (x,) = add([x, one])
        assert x[0, 0] == step + 1


@pytest.fixture(scope="module")
def lasting_add(tmp_path_factory) -> Executable:
    t = ((2, 3), float32)
    return build(tmp_path_factory.mktemp("add"), ADD, [t, t], [t])


@pytest.fixture(scope="module")
def beside_it(tmp_path_factory) -> Executable:
    """Another program, with arrays of its own."""
    t = ((2, 3), float32)
    return build(tmp_path_factory.mktemp("beside"), ADD, [t, t], [t])


_KINDS = ("made beside", "fed back beside", "forget beside", "same", "other", "fresh", "strided", "result", "wrong", "bound", "forget")


@needs_compiler
def test_what_another_program_made_is_not_held(add, beside_it):
    """It would count as in use there, and the other program would work in new memory in each call."""
    x, addresses = np.ones((2, 3), np.float32), set()
    beside_it.forget()
    for _ in range(12):
        (y,) = beside_it([x, x])
        addresses.add(y.ctypes.data)
        (z,) = add([y, x])
        assert z[0, 0] == 3
        del y, z
    assert len(addresses) == 1


@needs_compiler
@given(st.lists(st.tuples(st.sampled_from(_KINDS), st.sampled_from(_KINDS), st.booleans()), max_size=25))
@example([("same", "other", True)] * 8 + [("result", "wrong", True), ("same", "other", True)])
@example([("result", "same", False), ("forget", "same", False), ("fresh", "fresh", False), ("result", "same", False)])
@example([("made beside", "same", False), ("forget beside", "same", False), ("fresh", "same", False), ("made beside", "same", True)])
@example([("made beside", "same", True), ("fed back beside", "result", True), ("result", "made beside", True)] * 6)
@example([("fresh", "same", False), ("bound", "same", False), ("fresh", "same", False), ("same", "fresh", False)])
@settings(max_examples=60, deadline=None)
def test_inputs_are_found_where_they_are(lasting_add, beside_it, calls):
    """Whatever arrays come, go and come again, made by this program or by another, and whatever was refused in between."""
    numbers = iter(range(1, 1000))
    lasting = {kind: np.full((2, 3), next(numbers), np.float32) for kind in ("same", "other")}
    result = aligned_array((2, 3), np.dtype(np.float32))
    result[:] = 0.5

    def made(kind: str) -> np.ndarray:
        if kind == "result":
            return result
        if kind == "strided":
            return np.full((2, 6), next(numbers), np.float32)[:, ::2]
        if kind == "wrong":
            return np.zeros((3, 2), np.float32)
        if kind == "made beside":
            return beside_it([np.full((2, 3), next(numbers), np.float32), lasting["same"]])[0]
        if kind == "fed back beside":
            return beside_it([result, lasting["same"]])[0]
        return lasting.get(kind, np.full((2, 3), next(numbers), np.float32))

    for first, second, keep in calls:
        x, y = made(first), made(second)
        if "wrong" in (first, second):
            with pytest.raises(BackendError):
                lasting_add([x, y])
            continue
        if "forget" in (first, second):
            lasting_add.forget()
        if "forget beside" in (first, second):
            beside_it.forget()
        (z,) = lasting_add.bind([None, y])([x]) if "bound" in (first, second) else lasting_add([x, y])
        np.testing.assert_array_equal(z, np.asarray(x) + np.asarray(y))
        result = z if keep else z.copy()
        del x, y, z


@needs_compiler
def test_a_bound_program_finds_what_moved_and_what_others_ran_in_between(add):
    ones, twos, others = (np.full((2, 3), v, np.float32) for v in (1, 2, 5))
    first, second = add.bind([None, ones]), add.bind([None, others])
    held = []
    for x in (ones, ones, twos, twos, ones):
        for bound, y in ((first, ones), (first, ones), (second, others), (first, ones)):
            (z,) = bound([x])
            np.testing.assert_array_equal(z, x + y)
        held.append(z)  # the next result lies elsewhere
        np.testing.assert_array_equal(add([others, others])[0], others + others)
        np.testing.assert_array_equal(first([x.T.copy().T])[0], x + ones)  # copied
    both = add.bind([None, None])
    np.testing.assert_array_equal(both([ones, ones])[0], ones + ones)
    with pytest.raises(BackendError):
        both([twos, np.zeros((3, 2), np.float32)])
    np.testing.assert_array_equal(both([twos, ones])[0], twos + ones)  # the first one had moved when the second was refused
    for z, x in zip(held, (ones, ones, twos, twos, ones), strict=True):
        np.testing.assert_array_equal(z, x + ones)


@needs_compiler
@pytest.mark.parametrize("count", [2, 7, 1000, 70003])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_pool_runs_every_part_once(tmp_path, threads, count):
    program = build(tmp_path, PARALLEL.replace("1000", str(count)), [((count,), int64)], [((count,), int64)])
    with flags.threads(threads):
        for _ in range(20 if count <= 1000 else 2):
            (y,) = program([np.zeros(count, np.int64)])
            np.testing.assert_array_equal(y, 50 * np.arange(count))


ONE_PROCESSOR = """
#include "pool.c"
#include <stdio.h>
static void body(void *task, int64_t begin, int64_t end) {
    volatile int64_t *sums = task;
    for (int64_t i = begin; i < end; i++) for (int k = 0; k < 1000; k++) sums[i] += k;
}
static int64_t used(int shared) {
    static int64_t sums[32];
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    for (int n = 0; n < 2000; n++) {
        if (shared) lamina_pool_run(body, sums, 32);
        else body(sums, 0, 32);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    return (int64_t)(after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
}
int main(void) {
    cpu_set_t all, one;
    sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&one);
    for (int k = 0; k < CPU_SETSIZE; k++) if (CPU_ISSET(k, &all)) { CPU_SET(k, &one); break; }
    sched_setaffinity(0, sizeof one, &one);
    lamina_pool_threads(2);
    used(1);
    double alone = (double)used(0);
    printf("%f", (double)used(1) / alone);
}
"""


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="threads are bound to processors on Linux")
def test_two_threads_on_one_processor_take_hardly_more_of_it_than_one(tmp_path):
    """A thread that waits for work where the caller works is not waiting but in the way."""
    (tmp_path / "one.c").write_text(ONE_PROCESSOR)
    pool = Path(toolchain.__file__).parent
    subprocess.run([*toolchain.find_compiler().command, "-O2", "-pthread", f"-I{pool}", "one.c", "-o", "one"], cwd=tmp_path, check=True)
    runs = (float(subprocess.run([tmp_path / "one"], capture_output=True, text=True, check=True).stdout) for _ in range(4))
    assert any(ratio < 1.5 for ratio in runs), "the worker waits where the caller could work"


HELD_WITH_THE_CALLER = """
#include "pool.c"
#include <stdio.h>
static _Atomic int elsewhere;
static void body(void *task, int64_t begin, int64_t end) {
    for (int64_t start = now(); now() - start < 20000 * (end - begin);) relax();
    if (!pthread_equal(pthread_self(), *(pthread_t *)task) && sched_getcpu() != atomic_load(&caller_processor)) elsewhere = 1;
}
int main(void) {
    cpu_set_t all, one;
    pthread_t caller = pthread_self();
    sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&one);
    CPU_SET((unsigned)sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    lamina_pool_threads(2);
    lamina_pool_run(body, &caller, 32);
    sched_setaffinity(0, sizeof all, &all);
    for (int n = 0; n < 2000 && !elsewhere; n++) lamina_pool_run(body, &caller, 32);
    return !elsewhere;
}
"""


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="a worker moves to another processor")
def test_a_worker_held_on_the_callers_processor_moves_to_another_one(tmp_path):
    """As it is after it was woken there because another program ran on all others: then nobody else moves it."""
    (tmp_path / "held.c").write_text(HELD_WITH_THE_CALLER)
    pool = Path(toolchain.__file__).parent
    subprocess.run([*toolchain.find_compiler().command, "-O2", "-pthread", f"-I{pool}", "held.c", "-o", "held"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "held"], timeout=60).returncode == 0


WHAT_PAYS = """
#define _GNU_SOURCE
#include <stdint.h>
#include <time.h>
static int64_t nanoseconds = 1;
static int set_clock(int clock, struct timespec *t) {
    (void)clock;
    *t = (struct timespec){nanoseconds / 1000000000, nanoseconds % 1000000000};
    return 0;
}
#define clock_gettime(clock, t) set_clock(clock, t)
#include "pool.c"
#include <stdio.h>
static int64_t on[5], runs[5]; // nanoseconds on so many threads, and how often it was run on them
static int body(void **table) {
    (void)table;
    nanoseconds += on[limit];
    runs[limit]++;
    return 7;
}
static int64_t found[8];
static void run(int64_t one, int64_t two, int64_t three, int64_t four, int times) {
    on[1] = one, on[2] = two, on[3] = three, on[4] = four;
    for (int k = 0; k < 5; k++) runs[k] = 0;
    for (int n = 0; n < times; n++) if (lamina_pool_program(body, 0, found) != 7) printf("status ");
    for (int k = 1; k < 5; k++) printf("%d ", (int)runs[k]);
    printf("%d,", (int)limit);
}
int main(void) {
    lamina_pool_threads(4);
    run(9000, 5000, 4000, 3000, 10);      // too few runs to find out
    run(9000, 5000, 4000, 3000, 20000);   // all threads pay
    run(9000, 5000, 6000, 7000, 20000);   // another time two do,
    run(4000, 5000, 6000, 7000, 20000);   // one does,
    run(90000, 50000, 40000, 30000, 20000); // and all again
    lamina_pool_threads(3);
    run(90000000, 50000000, 20000000, 0, 10000); // too long for trials
    lamina_pool_threads(1);
    run(1, 0, 0, 0, 100);
    return 0;
}
"""


@needs_compiler
def test_a_program_runs_on_as_many_threads_as_pay_for_it(tmp_path):
    (tmp_path / "pays.c").write_text(WHAT_PAYS)
    pool = Path(toolchain.__file__).parent
    flags = "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{pool}"
    subprocess.run([*toolchain.find_compiler().command, *flags, "pays.c", "-o", "pays"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "pays"], capture_output=True, text=True, check=True).stdout
    short, all_, two, one, again, long, single = ([int(n) for n in part.split()] for part in said.rstrip(",").split(","))
    assert short == [0, 0, 0, 10, 0]
    assert all_[3] > 0.99 * 20000 and all_[1] > 0, "trials go on, and are rare"
    assert two[1] > 0.6 * 20000 and one[0] > 0.6 * 20000 and again[3] > 0.6 * 20000, "what changed is found out"
    assert long == [0, 0, 10000, 0, 0] and single == [100, 0, 0, 0, 0]


WAITS = """
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
static _Atomic int64_t nanoseconds = 1;
static int set_clock(int clock, struct timespec *t) {
    (void)clock;
    *t = (struct timespec){nanoseconds / 1000000000, nanoseconds % 1000000000};
    return 0;
}
#define clock_gettime(clock, t) set_clock(clock, t)
#include "pool.c"
#include <stdio.h>
#include <unistd.h>
static _Atomic int helped;
static void body(void *caller, int64_t begin, int64_t end) {
    (void)begin, (void)end;
    if (!pthread_equal(pthread_self(), *(pthread_t *)caller)) helped = 1;
    else for (int n = 0; n < 1000 && !helped; n++) usleep(100);
}
static void give_work(void) {
    pthread_t caller = pthread_self();
    for (helped = 0; !helped;) lamina_pool_run(body, &caller, 2);
}
static int sleeps(int milliseconds) {
    while (!atomic_load(&sleepers) && milliseconds-- > 0) usleep(1000);
    return (int)atomic_load(&sleepers);
}
int main(void) {
    lamina_pool_threads(2);
    give_work();
    int at_first = sleeps(100);
    nanoseconds += 1000000000;
    int long_after = sleeps(10000);
    give_work();
    int after_long = sleeps(10000);
    nanoseconds += 100000;
    give_work();
    int after_short = sleeps(100);
    printf("%d %d %d %d", at_first, long_after, after_long, after_short);
}
"""


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="a worker waits on another processor")
def test_a_worker_waits_through_the_gaps_of_a_training_step_but_not_through_long_ones(tmp_path):
    """By a clock that only the test moves: awake while the gap is short, asleep in a long one, at once after it, and awake again after one that was short."""
    (tmp_path / "waits.c").write_text(WAITS)
    pool = Path(toolchain.__file__).parent
    subprocess.run([*toolchain.find_compiler().command, "-O2", "-pthread", f"-I{pool}", "waits.c", "-o", "waits"], cwd=tmp_path, check=True)
    run = subprocess.run([tmp_path / "waits"], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == ["0", "1", "1", "0"]


@needs_compiler
@needs_fork
def test_a_forked_child_makes_its_own_threads(tmp_path):
    program = build(tmp_path, PARALLEL, [((1000,), int64)], [((1000,), int64)])
    zeros = np.zeros(1000, np.int64)
    with flags.threads(2):
        program([zeros])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(program([zeros])[0], 50 * np.arange(1000)) else 1)
        deadline = time.monotonic() + 20
        while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        if done[0] == 0:
            os.kill(child, 9)
        assert done[0] == child and os.waitstatus_to_exitcode(done[1]) == 0
        np.testing.assert_array_equal(program([zeros])[0], 50 * np.arange(1000))


def test_aligned_arrays():
    for shape in ((), (0,), (3, 5)):
        a = aligned_array(shape, np.dtype(np.float32))
        assert a.shape == shape and a.ctypes.data % 64 == 0 and a.flags.c_contiguous


def test_thread_counts_are_positive():
    with pytest.raises(BackendError, match="at least one thread"):
        set_num_threads(0)


@needs_compiler
def test_a_failing_compiler_keeps_the_source(tmp_path):
    source = tmp_path / "bad.c"
    source.write_text("int main( {")
    with pytest.raises(BackendError, match="the C compiler failed") as caught:
        toolchain.build_shared(toolchain.find_compiler(), source, tmp_path / "bad.so")
    facts = dict((label, text) for label, text, _ in caught.value.facts)
    assert Path(facts["source"]).read_text() == "int main( {" and "-ffp-contract=off" in facts["command"]


def test_lamina_cc_must_run(monkeypatch):
    monkeypatch.setenv("LAMINA_CC", "no-such-compiler -x")
    toolchain.find_compiler.cache_clear()
    try:
        with pytest.raises(BackendError, match="LAMINA_CC does not run: no-such-compiler -x"):
            toolchain.find_compiler()
    finally:
        monkeypatch.undo()
        toolchain.find_compiler.cache_clear()


def test_no_compiler_is_said_once(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("LAMINA_CC", raising=False)
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    toolchain.find_compiler.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="no C compiler found"):
            assert toolchain.find_compiler() is None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert toolchain.find_compiler() is None
    finally:
        monkeypatch.undo()
        toolchain.find_compiler.cache_clear()


def test_an_unwritable_cache_is_replaced_by_a_temporary_one(tmp_path):
    (tmp_path / "file").write_text("")
    cache._prepare.cache_clear()
    with flags.cache(str(tmp_path / "file" / "cache")), pytest.warns(RuntimeWarning, match="cannot be written"):
        folder = cache.cache_folder()
    assert folder is not None and folder.is_dir()


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def make(folder: Path) -> dict[str, object]:
        (folder / "half").write_text("")
        raise BackendError("stop")

    with flags.cache(str(tmp_path / "cache")):
        with pytest.raises(BackendError):
            cache.store("abc", make)
        assert cache.lookup("abc") is None
        assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_the_users_cache_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache._prepare.cache_clear()
    try:
        with flags.cache(""):
            folder = cache.cache_folder()
        assert folder == tmp_path / "lamina" and folder.stat().st_mode & 0o777 == 0o700
    finally:
        cache._prepare.cache_clear()


def test_types_survive_json():
    from lamina.backends.executable import types_from_json, types_to_json

    types = (((2, 3), float32), ((), bool_))
    assert types_from_json(types_to_json(types)) == types


def test_the_driver_is_light_until_the_first_compile():
    code = "import sys, lamina.backends.driver; sys.exit('xdsl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_compiler
def test_who_calls(add, called_by):
    """Small programs are called in C, for arrays of the very type; a refused call leaves the next one alone."""
    x = np.ones((2, 3), np.float32)
    for wrong in (x.T, x.astype(np.float64), x[None], "text"):
        with pytest.raises(BackendError):
            add([x, wrong])
    for y in (x, x.astype(np.float32, order="F"), np.broadcast_to(np.float32(1), (2, 3))):
        np.testing.assert_array_equal(add([y, x])[0], np.full((2, 3), 2.0))
    assert (add._call is not None) == (called_by == "c")


@needs_compiler
def test_a_failing_program_says_so_and_keeps_nothing(tmp_path):
    """Called whole or bound; what it was to write is used again."""
    t = ((4,), float32)
    text = "int lamina_main(void **t) { return **(float **)t > 0 ? 7 : 0; }\nvoid lamina_main_pool(void *r, void *w) { (void)r, (void)w; }\n"
    program = build(tmp_path, text, [t, t], [t, t])
    good, bad = np.zeros(4, np.float32), np.ones(4, np.float32)
    for call in (lambda x: program([x, good]), lambda x: bound([x])):
        bound = program.bind([None, good])
        made = {id(y) for _ in range(8) for y in call(good)}
        for _ in range(8):
            with pytest.raises(BackendError, match="code 7"):
                call(bad)
        assert {id(y) for _ in range(8) for y in call(good)} == made


@needs_compiler
def test_calls_are_cheap(tmp_path):
    t = ((4,), float32)
    count = 50
    text = "int lamina_main(void **t) { (void)t; return 0; }\nvoid lamina_main_pool(void *r, void *w) { (void)r, (void)w; }\n"
    program = build(tmp_path, text, [t] * (count - 10), [t] * 10)
    arrays = [np.zeros(4, np.float32) for _ in range(count - 10)]
    program(arrays)
    best = min(_seconds(program, arrays) for _ in range(20))
    assert best < 60e-6, f"{1e6 * best:.1f} us per call with {count} buffers"


def _seconds(program, arrays) -> float:
    start = time.perf_counter()
    for _ in range(50):
        program(arrays)
    return (time.perf_counter() - start) / 50


