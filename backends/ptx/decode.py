"""Instructions to steps of the machine, family by family: moves, memory, control, barriers, copies; the rest is elsewhere.

What is not known, down to the last word of an instruction, is refused by name; nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import arithmetic, operands, tensor_cores, warpgroups
from .arithmetic import DTYPES, Unknown
from .faults import Fault, PtxError
from .holes import holes, unread
from .machine import BRANCH, EXIT, PLAIN, WAITS, Code, Machine, Step
from .memory import LOCAL, PARAMETERS, SHARED_WINDOW
from .operands import address, constant, reader, vector, writer
from .parse import WIDTHS, Both, Instruction, Kernel, Memory, Module, Name, Register, Vector
from .shared import BASE

Array = np.ndarray
Run = Callable[[Machine, Array], None]
_SHARED = {"shared", "shared::cta"}
_SPACES = ("global", "shared", "shared::cta", "param", "local", "const")
REGISTERS = 65536
"""Of a processor."""
_MAY_BE_IGNORED = {"nc", "volatile", "weak", "relaxed"}
"""Words of ld and st about caches and order that nothing here depends on (relaxed: accesses are seen at once)."""
_TOGETHER = {"bar", "barrier", "shfl", "mbarrier", "ldmatrix", "stmatrix", "wgmma", "setmaxnreg", "fence", "mapa"}


def decode(module: Module, kernel: Kernel, places: dict[str, int]) -> Code:
    """A kernel, ready to run. places: addresses of constants. PtxError names an instruction that is not implemented."""
    code = Code(kernel, [], places=dict(places))
    _place_variables(code, module, kernel)
    watched: set[int] = set()
    for instruction in kernel.code:
        if instruction.opcode == "wgmma" and "mma_async" in instruction.parts:
            watched |= warpgroups.registers_of(instruction)
            code.by_warpgroup = True
        if instruction.opcode in _TOGETHER or instruction.opcode == "cp":
            code.alone = False
        if instruction.opcode in ("ld", "st", "atom", "red") and _SHARED & set(instruction.parts):
            code.alone = False
            code.granule = min(code.granule, WIDTHS[instruction.parts[-1]] // 8)
    code.watched = frozenset(watched)
    code.holes = holes(kernel)
    for instruction in kernel.code:
        try:
            code.steps.append(_step(code, instruction))
        except (Unknown, KeyError, ValueError, AttributeError) as error:
            facts = [("kernel", kernel.name, ""), ("PTX", f"line {instruction.line}: {instruction.text}", instruction.source)]
            raise PtxError(f"the interpreter does not know {_named(instruction)}", facts, help="add it to backends/ptx") from error
    code.steps.append(Step(Instruction("ret", (), (), None, 0, "the kernel's end", ""), EXIT))
    return code


def _named(instruction: Instruction) -> str:
    return ".".join((instruction.opcode, *instruction.parts))


def _place_variables(code: Code, module: Module, kernel: Kernel) -> None:
    shared, local, at = BASE, 0, PARAMETERS + 512
    for variable in (*kernel.variables, *module.variables):
        if variable.space == "shared":
            shared = -(-shared // variable.alignment) * variable.alignment
            code.places[variable.name] = shared
            shared += variable.size
        elif variable.space == "local":
            local = -(-local // variable.alignment) * variable.alignment
            code.places[variable.name] = LOCAL + local
            local += variable.size
    code.local_bytes = local
    for parameter in kernel.parameters:
        at = -(-at // parameter.alignment) * parameter.alignment
        code.places[parameter.name] = at
        at += parameter.size


def _step(code: Code, instruction: Instruction) -> Step:
    place = len(code.steps)
    if instruction.opcode == "bra":
        if not set(instruction.parts) <= {"uni"}:
            raise Unknown
        (to,) = instruction.operands
        assert isinstance(to, Name)
        return Step(instruction, BRANCH, target=code.kernel.labels[to.name])
    if instruction.opcode in ("ret", "exit"):
        return Step(instruction, EXIT)
    if instruction.opcode == "barrier" and instruction.parts[0] == "cluster":
        return _cluster_bar(instruction, place)
    if instruction.opcode in ("bar", "barrier") and "warp" not in instruction.parts:
        return Step(instruction, WAITS, _bar(code, instruction, place))
    if instruction.opcode == "mbarrier" and instruction.parts[0] == "try_wait":
        return Step(instruction, WAITS, _try_wait(code, instruction, place))
    made = _FAMILIES.get(instruction.opcode)
    return Step(instruction, PLAIN, made(code, instruction) if made is not None else _compute(code, instruction))


def _compute(code: Code, instruction: Instruction) -> Run:
    """What has no effect but its result."""
    means = arithmetic.meaning(instruction)
    target, *sources = instruction.operands
    loose = instruction.opcode == "cvt"
    if len(sources) != len(means.takes):
        raise Unknown
    given = [reader(code, o, kind, loose) for o, kind in zip(sources, means.takes, strict=True)]
    given = [_raw(o) if unread(instruction, k, code.holes) else get for k, (o, get) in enumerate(zip(sources, given, strict=True))]
    if isinstance(target, Both):
        if instruction.opcode != "setp":
            raise Unknown
        return _compared(target, given, means.compute)
    put, compute = writer(target, means.result, loose), means.compute
    if isinstance(target, Register) and target.index in code.holes:
        return lambda m, t: _put_raw(m, target, t, compute(*(get(m, t) for get in given)))
    if len(given) == 2:
        a, b = given
        return lambda m, t: put(m, t, compute(a(m, t), b(m, t)))
    return lambda m, t: put(m, t, compute(*(get(m, t) for get in given)))


def _compared(target: Both, given: list[operands.Reader], compute: Callable[..., tuple[Array, Array]]) -> Run:
    """setp of p|q."""
    first, second = writer(target.first, "pred"), writer(target.second, "pred")

    def run(m: Machine, t: Array) -> None:
        p, q = compute(*(get(m, t) for get in given))
        first(m, t, p)
        second(m, t, q)

    return run


def _raw(operand: Register) -> operands.Reader:
    """A register's bits where no byte counts that has no value."""
    return lambda m, t: m.registers[operand.index][t]


def _put_raw(m: Machine, register: Register, threads: Array, value: Array) -> None:
    """Bits some of which have no value: the register stays one that nobody has written."""
    m.registers[register.index][threads] = value


def _mov(code: Code, instruction: Instruction) -> Run:
    (kind,) = instruction.parts
    target, source = instruction.operands
    if isinstance(source, Vector) or isinstance(target, Vector):
        return _packed(code, kind, target, source)
    get, put = reader(code, source, kind), writer(target, kind)
    return lambda m, t: put(m, t, get(m, t))


def _packed(code: Code, kind: str, target: operands.Both | Vector | Register, source: Vector | Register) -> Run:
    """mov of parts into a register, or of a register into parts."""
    parts = vector(source if isinstance(source, Vector) else target)
    bits = WIDTHS[kind] // len(parts)
    part = f"b{bits}"
    wide = DTYPES[f"b{WIDTHS[kind]}"]
    if isinstance(source, Vector):
        given = [reader(code, o, part) for o in parts]
        put = writer(target, kind)

        def pack(m: Machine, t: Array) -> None:
            y = np.zeros(len(t), wide)
            for i, get in enumerate(given):
                y |= np.asarray(get(m, t)).astype(wide) << wide(i * bits)
            put(m, t, y)

        return pack
    get, to = reader(code, source, f"b{WIDTHS[kind]}"), [writer(o, part) for o in parts]

    def unpack(m: Machine, t: Array) -> None:
        x = get(m, t)
        for i, put in enumerate(to):
            put(m, t, (x >> wide(i * bits)).astype(DTYPES[part]))

    return unpack


def _access(instruction: Instruction) -> tuple[str, int, str]:
    """Of ld and st: the space ("": generic), how many elements, their type."""
    words = [w for w in instruction.parts if w not in _MAY_BE_IGNORED]
    space = next((w for w in words if w in _SPACES), "")
    count = next((int(w[1]) for w in words if w in ("v2", "v4")), 1)
    rest = [w for w in words if w not in _SPACES and w not in ("v2", "v4")]
    if len(rest) != 1 or rest[0] not in WIDTHS:
        raise Unknown
    return space.split("::")[0], count, rest[0]


def _memory(m: Machine, space: str, addresses: Array, threads: Array):
    """Where an access goes: a state space, and addresses in it."""
    if space == "":
        window = int(addresses[0]) >> 32 << 32
        if (addresses >> np.uint64(32) << np.uint64(32) != np.uint64(window)).any():
            raise Fault("a generic access to several state spaces at once", threads)
        space = {SHARED_WINDOW: "shared", PARAMETERS: "param", LOCAL: "local"}.get(window, "global")
        if space == "shared":
            return None, m.shared.own(addresses & np.uint64(0xFFFFFFFF), threads)
    if space == "shared":
        return None, m.shared.own(addresses, threads)
    if space == "local":
        return m.local, addresses
    if space == "param":
        return m.parameters, addresses
    return m.memory, addresses


def _ld(code: Code, instruction: Instruction) -> Run:
    space, count, kind = _access(instruction)
    target, source = instruction.operands
    parts, at, size = vector(target), address(code, source), WIDTHS[kind] // 8
    to = [writer(o, kind, True) for o in parts]
    if len(to) != count:
        raise Unknown
    dtype = np.dtype(DTYPES[kind])

    def run(m: Machine, t: Array) -> None:
        memory, places = _memory(m, space, at(m, t), t)
        values = m.shared.load(places, size, count, t) if memory is None else memory.load(places, size, count, t, m.block[t])
        for put, value in zip(to, values, strict=True):
            put(m, t, value.view(dtype))

    return run


def _st(code: Code, instruction: Instruction) -> Run:
    space, count, kind = _access(instruction)
    target, source = instruction.operands
    if space in ("param", "const"):
        raise Unknown
    at, size = address(code, target), WIDTHS[kind] // 8
    given = [reader(code, o, kind, True) for o in vector(source)]
    if len(given) != count:
        raise Unknown
    raw = np.dtype(f"u{size}")

    def run(m: Machine, t: Array) -> None:
        memory, places = _memory(m, space, at(m, t), t)
        values = [np.asarray(get(m, t)).view(raw) for get in given]
        if memory is None:
            m.shared.store(places, size, values, t)
        else:
            memory.store(places, size, values, t, m.block[t])

    return run


_ATOMIC: dict[str, tuple[str, Callable[..., Array]]] = {
    "add": ("u32 s32 u64 f32 f64", lambda old, x: old + x), "min": ("u32 s32 u64 s64", np.minimum), "max": ("u32 s32 u64 s64", np.maximum),
    "and": ("b32 b64", np.bitwise_and), "or": ("b32 b64", np.bitwise_or), "xor": ("b32 b64", np.bitwise_xor),
    "exch": ("b32 b64", lambda old, x: x), "cas": ("b32 b64", lambda old, x, y: np.where(old == x, y, old)),
    "inc": ("u32", lambda old, x: np.where(old >= x, 0, old + np.uint32(1))),
    "dec": ("u32", lambda old, x: np.where((old == 0) | (old > x), x, old - np.uint32(1))),
}  # fmt: skip
"""Of each atomic instruction the types, and what it makes of what is there."""
_ORDERS = {"relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys"}


def _atom(code: Code, instruction: Instruction) -> Run:
    """atom and red on global and shared memory: one thread after the other, in an order nobody knows."""
    words = [w for w in instruction.parts if w not in _ORDERS]
    shared = words[0] in _SHARED
    if words[0] != "global" and not shared or len(words) != 3 or words[2] not in _ATOMIC[words[1]][0].split():
        raise Unknown
    kind, function = words[2], _ATOMIC[words[1]][1]
    target, where, *sources = instruction.operands if instruction.opcode == "atom" else (Name("_"), *instruction.operands)
    if len(sources) != (2 if words[1] == "cas" else 1) or instruction.opcode == "red" and words[1] in ("exch", "cas"):
        raise Unknown
    put, at, given = writer(target, kind), address(code, where), [reader(code, o, kind) for o in sources]

    def run(m: Machine, t: Array) -> None:
        values = [np.broadcast_to(get(m, t), t.shape) for get in given]
        order = m.random.sample(range(len(t)), len(t))
        dtype = np.dtype(DTYPES[kind])

        def change(one: Array, k: int) -> Array:
            return function(one, *(v[k : k + 1] for v in values))

        if shared:
            old = m.shared.atomic(_memory(m, "shared", at(m, t), t)[1], dtype, change, t, order)
        else:
            old = m.memory.atomic(at(m, t), dtype, change, t, m.block[t], order)
        put(m, t, old)

    return run


def _cvta(code: Code, instruction: Instruction) -> Run:
    """Between generic addresses and those of a space; only shared ones differ here."""
    words = [w for w in instruction.parts if w not in ("u64", "u32")]
    back = "to" in words
    (space,) = [w for w in words if w != "to"]
    kind = instruction.parts[-1]
    if space not in _SPACES or kind != "u64":
        raise Unknown
    target, source = instruction.operands
    get, put = reader(code, source, kind), writer(target, kind)
    if not space.startswith("shared"):
        return lambda m, t: put(m, t, get(m, t))
    window = np.uint64(SHARED_WINDOW)
    return lambda m, t: put(m, t, get(m, t) - window if back else get(m, t) + window)


# -- Threads together


def _bar(code: Code, instruction: Instruction, place: int):
    if instruction.parts not in (("sync",), ("sync", "aligned"), ("cta", "sync", "aligned")):
        raise Unknown
    given = [reader(code, o, "u32") for o in instruction.operands]

    def run(m: Machine, t: Array) -> Array | None:
        m.whole_warps(t)
        number, *count = (np.broadcast_to(get(m, t), t.shape) for get in given)
        going, block = [], t // m.block_threads
        for rank, one in np.unique(np.stack([block, number], 1), axis=0).tolist():
            mine = (number == one) & (block == rank)
            want = operands.single(m, t[mine], count[0][mine], "how many threads a barrier is for") if count else m.block_threads
            done = m.barriers.sync(m, t[mine], one, want, place)
            going += [] if done is None else [done]
        return np.sort(np.concatenate(going)) if going else None

    return run


def _cluster_bar(instruction: Instruction, place: int) -> Step:
    """Arriving releases and waiting acquires, said or not."""
    what, *words = [w for w in instruction.parts[1:] if w != "aligned"]
    if (what, words) in (("arrive", []), ("arrive", ["release"])):
        return Step(instruction, PLAIN, lambda m, t: m.barriers.arrive_cluster(m, t))
    if (what, words) in (("wait", []), ("wait", ["acquire"])):
        return Step(instruction, WAITS, lambda m, t: m.barriers.wait_cluster(t, place))
    raise Unknown


def _mapa(code: Code, instruction: Instruction) -> Run:
    """The address of the same place in another block of the cluster."""
    if instruction.parts != ("shared::cluster", "u32"):
        raise Unknown
    target, source, rank = instruction.operands
    put, get, get_rank = writer(target, "u32"), reader(code, source, "u32"), reader(code, rank, "u32")
    return lambda m, t: put(m, t, m.shared.mapped(np.broadcast_to(get(m, t), t.shape), np.broadcast_to(get_rank(m, t), t.shape), t))


def _warp_bar(code: Code, instruction: Instruction) -> Run:
    if instruction.parts != ("warp", "sync"):
        raise Unknown
    (mask,) = instruction.operands
    if constant(mask) & 0xFFFFFFFF != 0xFFFFFFFF:
        raise Unknown
    return lambda m, t: m.barriers.warp_sync(m, t)


def _shfl(code: Code, instruction: Instruction) -> Run:
    """Lanes of a segment given by the upper half of c; a lane whose source is outside keeps its own value."""
    sync, mode, kind = instruction.parts
    target, source, lane, bounds, mask = instruction.operands
    if sync != "sync" or mode not in ("bfly", "up", "down", "idx") or kind != "b32":
        raise Unknown
    found = target.second if isinstance(target, Both) else None
    put, put_found = writer(target.first if isinstance(target, Both) else target, kind), writer(found, "pred") if found else None
    get, get_lane, get_bounds, get_mask = (reader(code, o, "b32") for o in (source, lane, bounds, mask))

    def run(m: Machine, t: Array) -> None:
        warps = m.whole_warps(t)
        if operands.single(m, t, np.asarray(get_mask(m, t)), "the mask of shfl.sync") != 0xFFFFFFFF:
            raise Fault("shfl.sync of some lanes of a warp is not implemented", t)
        shape = (len(warps), 32)
        x, by, c = (np.broadcast_to(f(m, t), t.shape).reshape(shape).astype(np.int64) for f in (get, get_lane, get_bounds))
        me, by = np.arange(32)[None, :], by & 31
        segment, clamp = c >> 8 & 31, c & 31
        low, high = me & segment, (me & segment) | (clamp & ~segment)
        if mode == "bfly":
            from_, inside = me ^ by, (me ^ by) <= high
        elif mode == "idx":
            from_ = low | (by & ~segment)
            inside = from_ <= high
        elif mode == "up":
            from_, inside = me - by, me - by >= high
        else:
            from_, inside = me + by, me + by <= high
        from_ = np.where(inside, from_, me)
        put(m, t, np.take_along_axis(x, from_, 1).astype(np.uint32).reshape(-1))
        if put_found is not None:
            put_found(m, t, inside.reshape(-1))

    return run


def _own(named: operands.Reader) -> operands.Reader:
    """Addresses of shared memory as a block names them, among those of its cluster."""
    return lambda m, t: m.shared.own(named(m, t), t)


def _mbarrier(code: Code, instruction: Instruction) -> Run:
    words = [w for w in instruction.parts if w not in ("shared", "shared::cta", "shared::cluster", "b64", "release", "relaxed", "cta", "cluster")]
    spaces = {*_SHARED, "shared::cluster"} & set(instruction.parts)
    if "b64" not in instruction.parts or len(spaces) != 1:
        raise Unknown
    is_own = spaces <= _SHARED
    if words == ["init"]:
        where, count = instruction.operands
        if not is_own:
            raise Unknown
        at, get = _own(address(code, where)), reader(code, count, "u32")
        return lambda m, t: m.barriers.init(t, at(m, t), np.broadcast_to(get(m, t), t.shape))
    if words not in (["arrive"], ["arrive", "expect_tx"]):
        raise Unknown
    sink, where, *more = instruction.operands
    if not isinstance(sink, Name) or sink.name != "_" or len(more) != len(words) - 1:
        raise Unknown
    relaxed = "relaxed" in instruction.parts
    if not is_own and (more or "cluster" not in instruction.parts) or relaxed and is_own:  # of a scope that the other block is not in
        raise Unknown
    named = address(code, where)
    at = _own(named) if is_own else lambda m, t: m.shared.elsewhere(named(m, t), t)
    if not more:
        return lambda m, t: m.barriers.arrive(m, t, at(m, t), relaxed=relaxed)
    get_bytes = reader(code, more[0], "u32")
    return lambda m, t: m.barriers.arrive(m, t, at(m, t), np.broadcast_to(get_bytes(m, t), t.shape))


def _try_wait(code: Code, instruction: Instruction, place: int):
    in_cluster = instruction.parts[2:4] in (("acquire", "cluster"), ("relaxed", "cluster"))
    words = [w for w in instruction.parts if w not in ("shared", "shared::cta", "acquire", "cta", *(("relaxed",) if in_cluster else ()))]
    if words != ["try_wait", "parity", *(["cluster"] if in_cluster else []), "b64"]:
        raise Unknown
    over, where, parity = instruction.operands
    put, at, get = writer(over, "pred"), _own(address(code, where)), reader(code, parity, "u32")

    def run(m: Machine, t: Array) -> Array | None:
        addresses, parities = at(m, t), np.broadcast_to(get(m, t), t.shape)
        if (parities > 1).any():
            raise Fault("the parity of a phase is 0 or 1", t)
        going = []
        for one in np.unique(addresses):
            for bit in (0, 1):
                some = t[(addresses == one) & (parities == bit)]
                if len(some) and m.barriers.has_ended(some, int(one), bit, place, in_cluster):
                    put(m, some, np.ones(len(some), np.bool_))
                    going.append(some)
        return np.sort(np.concatenate(going)) if going else None

    return run


def _fence(code: Code, instruction: Instruction) -> Run:
    words = instruction.parts
    if words == ("mbarrier_init", "release", "cluster"):
        return lambda m, t: m.barriers.show(t)
    if words not in (("proxy", "async"), ("proxy", "async", "shared::cta")):
        raise Unknown

    def run(m: Machine, t: Array) -> None:
        m.shared.clocks.fence(t)
        m.barriers.show(t)

    return run


def _setmaxnreg(code: Code, instruction: Instruction) -> Run:
    count = constant(instruction.operands[0])
    if instruction.parts not in (("inc", "sync", "aligned", "u32"), ("dec", "sync", "aligned", "u32")) or count % 8 or not 24 <= count <= 256:
        raise Unknown

    def run(m: Machine, t: Array) -> None:
        """All that a block's warpgroups hold has to fit into the registers of a processor: an increase would wait for ever."""
        for group in m.whole_warps(t, 128):
            m.held[int(group[0]) // 128] = count
        for block in np.unique(t // m.block_threads).tolist():
            held = 128 * sum(n for group, n in m.held.items() if group * 128 // m.block_threads == block)
            if held > REGISTERS:
                raise Fault(f"the block's warpgroups hold {held} registers, and there are {REGISTERS}", t)

    return run


# -- Copies


def _cp(code: Code, instruction: Instruction) -> Run:
    words = instruction.parts
    if words[0] != "async":
        raise Unknown
    if words[1:] == ("commit_group",):
        return lambda m, t: m.copies.commit(t)
    if words[1:] in (("wait_group",), ("wait_all",)):
        pending = constant(instruction.operands[0]) if instruction.operands else 0
        return lambda m, t: m.copies.wait(t, pending)
    if words[1:] == ("bulk", "commit_group"):
        return lambda m, t: m.copies.commit_bulk(t)
    if words[1:] in (("bulk", "wait_group"), ("bulk", "wait_group", "read")):
        pending = constant(instruction.operands[0])
        return lambda m, t: m.copies.wait_bulk(t, pending)
    if words[1:3] == ("bulk", "tensor"):
        return _tensor(code, instruction)
    return _cp_async(code, instruction)


def _cp_async(code: Code, instruction: Instruction) -> Run:
    """Bytes behind the source's size are zero; of a size 0 the source is not looked at."""
    if instruction.parts not in (("async", kind, shared, "global") for kind in ("ca", "cg") for shared in ("shared", "shared::cta")):
        raise Unknown
    to, source, whole, *some = instruction.operands
    size = constant(whole)
    if size not in ((16,) if instruction.parts[1] == "cg" else (4, 8, 16)) or len(some) > 1:
        raise Unknown
    at, from_ = address(code, to), address(code, source)
    get = reader(code, some[0], "u32") if some else None

    def run(m: Machine, t: Array) -> None:
        read = np.broadcast_to(get(m, t), t.shape).astype(np.int64) if get is not None else np.full(len(t), size)
        if (read > size).any():
            raise Fault(f"cp.async of {size} bytes from {read.max()}", t)
        given = np.zeros((len(t), size), np.uint8)
        places = from_(m, t)
        for length in np.unique(read[read > 0]).tolist():
            mine = read == length
            if length % 4:
                raise Fault("cp.async of a part that is not whole words is not implemented", t)
            if (places[mine] % np.uint64(size)).any():
                raise Fault(f"cp.async from an address that is not a multiple of {size}", t[mine])
            for word in range(length // 4):
                (value,) = m.memory.load(places[mine] + np.uint64(4 * word), 4, 1, t[mine], m.block[t[mine]])
                given[mine, 4 * word : 4 * word + 4] = value[:, None].view(np.uint8).reshape(-1, 4)
        m.copies.start(t, m.shared.own(at(m, t), t), given)

    return run


def _tensor(code: Code, instruction: Instruction) -> Run:
    rank = int(instruction.parts[3][0])
    words = (instruction.parts[3][1:], *instruction.parts[4:])
    loads = (("d", shared, "global", "tile", "mbarrier::complete_tx::bytes") for shared in ("shared::cluster", "shared::cta"))
    several = words == ("d", "shared::cluster", "global", "tile", "mbarrier::complete_tx::bytes", "multicast::cluster")
    stores = words in (("d", "global", "shared::cta", "tile", "bulk_group"), ("d", "global", "shared::cta", "bulk_group"))
    if not stores and not several and words not in loads:
        raise Unknown
    get_mask: operands.Reader | None = None
    if stores:
        boxed, shared = instruction.operands
    else:
        shared, boxed, where, *mask = instruction.operands
        if len(mask) != several:
            raise Unknown
        get_mask = reader(code, mask[0], "u16") if several else None
    assert isinstance(boxed, Memory)
    if len(boxed.places) != rank:
        raise Unknown
    map_at, shared_at = address(code, Memory(boxed.base, boxed.offset)), address(code, shared)
    places = [reader(code, o, "s32") for o in boxed.places]
    barrier_at = None if stores else address(code, where)

    def run(m: Machine, t: Array) -> None:
        at = [np.broadcast_to(get(m, t), t.shape) for get in places]
        maps, shared_places = map_at(m, t), m.shared.own(shared_at(m, t), t).astype(np.int64)
        barriers = m.shared.own(barrier_at(m, t), t).astype(np.int64) if barrier_at is not None else None
        masks = np.broadcast_to(get_mask(m, t), t.shape) if get_mask is not None else None
        for k, thread in enumerate(t.tolist()):
            tensor = m.copies.tensor(int(maps[k]), thread, rank)
            corner = tuple(int(a[k]) for a in at)
            if barriers is None:
                m.copies.store(thread, tensor, corner, int(shared_places[k]))
                continue
            block = thread // m.block_threads
            for other in [block] if masks is None else _ranks(int(masks[k]), m, thread):
                further = (other - block) * m.shared.stride
                m.shared.tell(np.array([other]), np.array([thread]))
                m.copies.load(thread, int(shared_places[k]) + further, tensor, corner, m.barriers.find(int(barriers[k]) + further, thread))

    return run


def _ranks(mask: int, m: Machine, thread: int) -> list[int]:
    """The blocks of a cluster that a mask names. Fault: there are not so many."""
    if not mask or mask >> m.shared.blocks:
        raise Fault(f"a box for the blocks of mask {mask:#x}, of a cluster of {m.shared.blocks}", [thread])
    return [rank for rank in range(m.shared.blocks) if mask >> rank & 1]


def _wgmma(code: Code, instruction: Instruction) -> Run:
    words = instruction.parts
    if words[0] == "mma_async":
        return warpgroups.wgmma(code, instruction)
    if words == ("fence", "sync", "aligned"):
        return lambda m, t: m.products.fence(m, t)
    if words == ("commit_group", "sync", "aligned"):
        return lambda m, t: m.products.commit(m, t)
    if words == ("wait_group", "sync", "aligned"):
        pending = constant(instruction.operands[0])
        return lambda m, t: m.products.wait(m, t, pending)
    raise Unknown


_FAMILIES: dict[str, Callable[[Code, Instruction], Run]] = {
    "mov": _mov, "ld": _ld, "st": _st, "atom": _atom, "red": _atom, "cvta": _cvta, "bar": _warp_bar, "shfl": _shfl, "mbarrier": _mbarrier, "fence": _fence,
    "setmaxnreg": _setmaxnreg, "mapa": _mapa, "cp": _cp, "wgmma": _wgmma, "mma": tensor_cores.mma, "ldmatrix": tensor_cores.ldmatrix,
    "stmatrix": tensor_cores.stmatrix,
}  # fmt: skip
