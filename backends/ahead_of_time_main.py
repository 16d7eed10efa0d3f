"""``main.c`` of an exported model: raw files of samples in, predictions or raw files out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ahead_of_time import Interface, Parameter


def main_source(face: Interface) -> str:
    """A program ``main WEIGHTS INPUT... [OUTPUT...]``.

    Where all arrays share their first dimension it is a batch: input files hold any number of samples, run batch by
    batch, the last one filled up with zeros. Without output files the place of each sample's largest value is printed.
    """
    m, batch = face.macro, batch_of(face)
    buffers = [f"    static _Alignas(64) {p.c_type} {p.name}[{p.elements}];" for p in (*face.inputs, *face.outputs)]
    reads = "\n".join(_read(face, i, p, batch) for i, p in enumerate(face.inputs))
    writes = "\n".join(_write(face, i, p, batch) for i, p in enumerate(face.outputs))
    arguments = ", ".join(p.name for p in (*face.inputs, *face.outputs))
    usage = " ".join(["WEIGHTS", *(p.name.upper() for p in face.inputs), "[OUTPUT...]"])
    first_output = len(face.inputs) + 2
    return f"""\
/* Runs {face.prefix} on raw files of samples: main {usage} */
#include "{face.prefix}.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *what, const char *name) {{
    fprintf(stderr, "%s: %s\\n", name, what);
    return 1;
}}

int main(int argc, char **argv) {{
    static _Alignas(64) char arena[{m}_ARENA_BYTES];
{chr(10).join(buffers)}
    FILE *in[{max(1, len(face.inputs))}] = {{0}}, *out[{max(1, len(face.outputs))}] = {{0}};
    if (argc < {first_output}) return fail("usage: {usage}", argv[0]);
    FILE *file = fopen(argv[1], "rb");
    char *weights = aligned_alloc({m}_ALIGNMENT, {m}_WEIGHTS_BYTES);
    if (!file || !weights) return fail("cannot be opened", argv[1]);
    size_t got = fread(weights, 1, {m}_WEIGHTS_BYTES, file);
    int more = fgetc(file) != EOF;
    fclose(file);
    int status = more ? {m}_NOT_WEIGHTS : {face.prefix}_check_weights(weights, got);
    if (status) {{
        fprintf(stderr, "%s: not the weights of this model (code %d)\\n", argv[1], status);
        return 1;
    }}
    for (int i = 0; i < {len(face.inputs)}; i++)
        if (!(in[i] = fopen(argv[2 + i], "rb"))) return fail("cannot be opened", argv[2 + i]);
    for (int i = 0; i < {len(face.outputs)} && {first_output} + i < argc; i++)
        if (!(out[i] = fopen(argv[{first_output} + i], "wb"))) return fail("cannot be written", argv[{first_output} + i]);
    for (;;) {{
        size_t samples = {batch};
{reads}
        status = {face.prefix}_run({arguments}{', ' if arguments else ''}weights, arena);
        if (status) {{
            fprintf(stderr, "{face.prefix}_run failed with code %d\\n", status);
            return 1;
        }}
{writes}
        if (samples < {batch} || {int(batch == 1 and not _is_batched(face))}) break;
    }}
    for (int i = 0; i < {len(face.outputs)}; i++)
        if (out[i] && fclose(out[i])) return fail("cannot be written", argv[{first_output} + i]);
    free(weights);
    return 0;
}}
"""


def _is_batched(face: Interface) -> bool:
    """True if every array has the same first dimension."""
    shapes = [p.type[0] for p in (*face.inputs, *face.outputs)]
    return bool(face.inputs) and all(shapes) and len({s[0] for s in shapes}) == 1


def batch_of(face: Interface) -> int:
    """Samples per call: the shared first dimension, or 1 for the whole arrays."""
    return face.inputs[0].type[0][0] if _is_batched(face) else 1


def _read(face: Interface, i: int, p: Parameter, batch: int) -> str:
    """Read up to a batch of samples; stop at the end of the file, refuse half a sample."""
    sample = p.elements // batch * p.type[1].itemsize
    count = "samples" if i == 0 else f"samples_{i}"
    declare = "" if i == 0 else "size_t "
    check = "" if i == 0 else f'\n        if ({count} != samples) return fail("holds another number of samples", argv[{2 + i}]);'
    stop = "" if i else "\n        if (samples == 0) break;"
    return f"""\
        memset({p.name}, 0, sizeof {p.name});
        size_t bytes_{i} = fread({p.name}, 1, sizeof {p.name}, in[{i}]);
        if (bytes_{i} % {sample}) return fail("ends inside a sample", argv[{2 + i}]);
        {declare}{count} = bytes_{i} / {sample};{check}{stop}"""


def _write(face: Interface, i: int, p: Parameter, batch: int) -> str:
    """Write a batch of raw results, or print the place of each sample's largest value."""
    sample = p.elements // batch
    raw = f'fwrite({p.name}, {sample * p.type[1].itemsize}, samples, out[{i}]) != samples) return fail("cannot be written", "output");'
    if i or p.type[1].code in ("f16", "bf16"):
        return f"        if (out[{i}] && {raw}"
    return f"""\
        if (out[{i}] && {raw}
        for (size_t n = 0; !out[{i}] && n < samples; n++) {{
            const {p.c_type} *row = {p.name} + n * {sample};
            int best = 0;
            for (int k = 1; k < {sample}; k++)
                if (row[k] > row[best]) best = k;
            printf("%d\\n", best);
        }}"""
