/* Calls of compiled programs, without Python's help: a function per program that Python calls as its own.

   Such a function looks whether arrays are what the program takes, takes arrays for the outputs that nobody else sees, fills in the table of addresses and
   runs the program: what executable.py and output_pool.py do, for the cases that come again and again; it leaves everything else to them. Nothing of
   Python's or numpy's headers is needed: what is called is exported by every CPython from 3.11 on, and where numpy's arrays have what is read
   here, and counts of references are, executable.py has looked up.
*/

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "interpreter.h"

extern size_t PyLong_AsSize_t(object *);
extern object *PyErr_NoMemory(void);
extern object *PyList_GetSlice(object *, ptrdiff_t, ptrdiff_t);
extern object *PyObject_GetAttrString(object *, const char *);
extern object *PyCapsule_New(void *, const char *, void (*)(object *));
extern void *PyCapsule_GetPointer(object *, const char *);
extern void *PyEval_SaveThread(void);
extern void PyEval_RestoreThread(void *);

enum { ROW_MAJOR_AND_ALIGNED = 0x101 };

/* What numpy publishes of its arrays, behind Python's own two words. */
typedef struct {
    uint64_t references; /* half of it in some interpreters */
    object *class;
    char *data;
    int dimensions;
    ptrdiff_t *shape, *strides;
    object *base, *dtype;
    int flags;
} array;

static object *array_class;

static object *nothing(void) {
    return Py_BuildValue("");
}

static object *kept(object *value) {
    Py_IncRef(value);
    return value;
}

/* -- arrays for outputs: OutputPool.take */

typedef struct {
    object *rounds, *places, *free; /* lists of the pool, which it changes in place */
    object *replace;                /* the pool's function, unbound: the pool refers to this, and not the other way round */
    long looking;                   /* what looking through a list in Python adds to a count */
    ptrdiff_t turn;
} pool;

static void let_go_of_pool(object *capsule) {
    pool *own = PyCapsule_GetPointer(capsule, NULL);
    Py_DecRef(own->rounds), Py_DecRef(own->places), Py_DecRef(own->free), Py_DecRef(own->replace);
    free(own);
}

/* What `call` takes arrays of. */
object *lamina_pool(object *rounds, object *places, object *unheld, object *replace, long looking) {
    pool *made = malloc(sizeof *made);
    object *capsule = made ? PyCapsule_New(made, NULL, let_go_of_pool) : NULL;
    if (!capsule) {
        free(made);
        return PyErr_NoMemory();
    }
    *made = (pool){kept(rounds), kept(places), kept(unheld), kept(replace), looking, 0};
    return capsule;
}

/* The arrays of the next round, all of them such that nobody else sees; where they are in `places`, borrowed. python: the pool itself. */
static object *taken(pool *own, object *python, object **places) {
    ptrdiff_t turn = own->turn = (own->turn + 1) % PyList_Size(own->rounds);
    object *made = PyList_GetItem(own->rounds, turn), *unheld = PyList_GetItem(own->free, turn);
    ptrdiff_t count = PyList_Size(made);
    for (ptrdiff_t k = 0; k < count; k++) {
        long references = (long)(((const array *)PyList_GetItem(made, k))->references & 0xFFFFFFFF);
        if (references + own->looking == PyLong_AsLong(PyList_GetItem(unheld, k)))
            continue;
        object *given[3] = {python, PyLong_FromLong((long)turn), PyLong_FromLong((long)k)};
        object *answer = given[1] && given[2] ? PyObject_Vectorcall(own->replace, given, 3, NULL) : NULL;
        Py_DecRef(given[1]), Py_DecRef(given[2]), Py_DecRef(answer);
        if (!answer)
            return NULL;
    }
    *places = PyList_GetItem(own->places, turn);
    return PyList_GetSlice(made, 0, count);
}

/* -- programs */

typedef struct {
    object *dtype;
    ptrdiff_t place, dimensions, *shape; /* the first: of its address in the table */
} array_type;

/* A program's table is addresses of inputs, of outputs, of working memory, and the sizes it gets to know. */
typedef struct {
    int (*entry)(void *);
    uint64_t *table, *whole; /* the latter: what does not change from call to call */
    ptrdiff_t inputs, given, outputs, places;
    array_type *types; /* of the inputs that are given */
} program;

static void let_go(object *capsule) {
    program *made = PyCapsule_GetPointer(capsule, NULL);
    for (ptrdiff_t i = 0; i < made->given; i++)
        Py_DecRef(made->types[i].dtype), free(made->types[i].shape);
    free(made->whole), free(made->types), free(made);
}

/* Whether arrays are what a program takes: their addresses are in its table then. */
static int place(const program *made, object *arrays) {
    for (ptrdiff_t i = 0; i < made->given; i++) {
        const array *own = (const array *)PyList_GetItem(arrays, i);
        const array_type *type = &made->types[i];
        if (own->class != array_class || own->dtype != type->dtype || own->dimensions != type->dimensions ||
            (own->flags & ROW_MAJOR_AND_ALIGNED) != ROW_MAJOR_AND_ALIGNED)
            return 0;
        for (ptrdiff_t d = 0; d < type->dimensions; d++)
            if (own->shape[d] != type->shape[d])
                return 0;
        made->table[type->place] = (uint64_t)(uintptr_t)own->data;
    }
    return 1;
}

/* Outputs in order: those of the pool, and inputs that outputs are made in. */
static object *in_order(object *fresh, object *arrays, object *reused, object *order) {
    ptrdiff_t count = PyTuple_Size(order), own = PyList_Size(fresh);
    object *outputs = PyList_New(count);
    for (ptrdiff_t k = 0; outputs && k < count; k++) {
        ptrdiff_t at = PyLong_AsLong(PyTuple_GetItem(order, k));
        object *output = at < own ? PyList_GetItem(fresh, at) : PyList_GetItem(arrays, PyLong_AsLong(PyTuple_GetItem(reused, at - own)));
        PyList_SetItem(outputs, k, kept(output));
    }
    return outputs;
}

/* call(arrays, what lamina_pool gave, pool, inputs that are outputs, order): the outputs; a number if the program failed; None: Python has to look at the arrays.
   order: output -> place in the list of what the pool gives and then those inputs. */
static object *call(object *capsule, object *const *given, ptrdiff_t count) {
    const program *made = PyCapsule_GetPointer(capsule, NULL);
    pool *own = made && count == 5 ? PyCapsule_GetPointer(given[1], NULL) : NULL;
    if (!own || PyList_Size(given[0]) != made->given || PyTuple_Size(given[4]) != made->outputs)
        return PyErr_Occurred() ? NULL : nothing();
    object *places, *reused = given[3], *order = given[4];
    uint64_t *table = made->table;
    memcpy(table, made->whole, (size_t)made->places * sizeof *table);
    if (!place(made, given[0]))
        return nothing();
    object *outputs = taken(own, given[2], &places);
    if (!outputs)
        return NULL;
    ptrdiff_t more = PyTuple_Size(reused), fresh = PyList_Size(outputs);
    for (ptrdiff_t k = 0; k < made->outputs; k++) {
        ptrdiff_t at = more ? PyLong_AsLong(PyTuple_GetItem(order, k)) : k;
        table[made->inputs + k] = at < fresh ? PyLong_AsSize_t(PyList_GetItem(places, at)) : table[PyLong_AsLong(PyTuple_GetItem(reused, at - fresh))];
    }
    if (more) {
        object *all = in_order(outputs, given[0], reused, order);
        Py_DecRef(outputs);
        outputs = all;
    }
    if (!outputs || PyErr_Occurred()) {
        Py_DecRef(outputs);
        return NULL;
    }
    void *thread = PyEval_SaveThread();
    int status = made->entry(table);
    PyEval_RestoreThread(thread);
    if (!status)
        return outputs;
    Py_DecRef(outputs);
    return PyLong_FromLong(status);
}

static method call_method = {"call", call, FASTCALL, NULL};

/* The function that calls a program. types: dtype, shape and place in the table of each input that is given. outputs: how many.
   whole: the table, 0 for what each call puts there. */
object *lamina_caller(object *kind, size_t entry, size_t table, object *types, ptrdiff_t inputs, ptrdiff_t outputs, object *whole) {
    ptrdiff_t given = PyTuple_Size(types), places = PyTuple_Size(whole);
    array_class = kind;
    program *made = calloc(1, sizeof *made);
    array_type *all = calloc((size_t)given + 1, sizeof *all);
    uint64_t *fixed = calloc((size_t)places + 1, sizeof *fixed);
    object *capsule = made && all && fixed ? PyCapsule_New(made, NULL, let_go) : NULL, *found = NULL;
    if (!capsule) {
        free(made), free(all), free(fixed);
        return PyErr_NoMemory();
    }
    *made = (program){(int (*)(void *))entry, (uint64_t *)table, fixed, inputs, 0, outputs, places, all};
    int is_whole = 1;
    for (ptrdiff_t i = 0; i < given && is_whole; i++) {
        object *type = PyTuple_GetItem(types, i), *shape = PyTuple_GetItem(type, 1);
        all[i].dtype = kept(PyTuple_GetItem(type, 0)), all[i].dimensions = PyTuple_Size(shape), all[i].place = PyLong_AsLong(PyTuple_GetItem(type, 2));
        made->given = i + 1;
        if (!(all[i].shape = calloc((size_t)all[i].dimensions + 1, sizeof(ptrdiff_t))))
            is_whole = 0;
        for (ptrdiff_t d = 0; is_whole && d < all[i].dimensions; d++)
            all[i].shape[d] = PyLong_AsLong(PyTuple_GetItem(shape, d));
    }
    for (ptrdiff_t k = 0; k < places; k++)
        fixed[k] = PyLong_AsSize_t(PyTuple_GetItem(whole, k));
    if (!is_whole)
        PyErr_NoMemory();
    else if (!PyErr_Occurred())
        found = PyCFunction_NewEx(&call_method, capsule, NULL);
    Py_DecRef(capsule);
    return found;
}

/* -- a few random numbers: an array, and draws.c fills it */

typedef void (*draw_singles)(void *engine, float *out, int64_t n);
typedef void (*draw_integers)(void *engine, int64_t *out, int64_t n, uint32_t span, int64_t low);
typedef void (*draw_normals)(void *engine, double *out, int64_t n, double mean, double std, double *saved);

typedef void (*draw_blocks)(void *engine, float *out, int64_t n, float mean, float std);

enum { SINGLES, INTEGERS, NORMALS, NORMAL_BLOCKS, MOST_NORMALS = 64, MOST_AT_ONCE = 1 << 14 };

typedef struct {
    void *function;
    int kind, is_single; /* the latter: normal numbers are rounded to float32 */
    object *empty, *shape, *dtype;
    ptrdiff_t n;
    double first, second;
} few;

static void let_go_of_few(object *capsule) {
    few *made = PyCapsule_GetPointer(capsule, NULL);
    Py_DecRef(made->empty), Py_DecRef(made->shape), Py_DecRef(made->dtype);
    free(made);
}

/* draw(address of an engine, address of what it saved): a new array. */
static object *draw(object *capsule, object *const *given, ptrdiff_t count) {
    const few *own = PyCapsule_GetPointer(capsule, NULL);
    if (!own || count != 2)
        return PyErr_Occurred() ? NULL : nothing();
    void *engine = (void *)PyLong_AsSize_t(given[0]);
    double *saved = (double *)PyLong_AsSize_t(given[1]);
    object *arguments[2] = {own->shape, own->dtype};
    object *made = PyErr_Occurred() ? NULL : PyObject_Vectorcall(own->empty, arguments, 2, NULL);
    if (!made)
        return NULL;
    char *data = ((array *)made)->data;
    if (own->kind == SINGLES)
        ((draw_singles)own->function)(engine, (float *)data, own->n);
    else if (own->kind == INTEGERS)
        ((draw_integers)own->function)(engine, (int64_t *)data, own->n, (uint32_t)own->first, (int64_t)own->second);
    else if (own->kind == NORMAL_BLOCKS)
        ((draw_blocks)own->function)(engine, (float *)data, own->n, (float)own->first, (float)own->second);
    else {
        double numbers[MOST_NORMALS];
        ((draw_normals)own->function)(engine, numbers, own->n, own->first, own->second, saved);
        for (ptrdiff_t i = 0; i < own->n; i++)
            if (own->is_single)
                ((float *)data)[i] = (float)numbers[i];
            else
                ((double *)data)[i] = numbers[i];
    }
    return made;
}

static method draw_method = {"draw", draw, FASTCALL, NULL};

/* The function that draws; None: there are too many numbers. empty: numpy's. first, second: what the distribution depends on. */
object *lamina_few(size_t function, int kind, object *empty, object *shape, object *dtype, double first, double second) {
    ptrdiff_t n = 1;
    for (ptrdiff_t d = 0; d < PyTuple_Size(shape); d++)
        n *= PyLong_AsLong(PyTuple_GetItem(shape, d));
    object *letter = PyObject_GetAttrString(dtype, "char"), *found = NULL;
    few *made = letter && n <= (kind == NORMALS ? MOST_NORMALS : MOST_AT_ONCE) && !PyErr_Occurred() ? malloc(sizeof *made) : NULL;
    object *capsule = made ? PyCapsule_New(made, NULL, let_go_of_few) : NULL;
    if (capsule) {
        int is_single = *PyUnicode_AsUTF8(letter) == 'f';
        *made = (few){(void *)function, kind, is_single, kept(empty), kept(shape), kept(dtype), n, first, second};
        found = PyCFunction_NewEx(&draw_method, capsule, NULL);
    } else
        free(made);
    Py_DecRef(letter), Py_DecRef(capsule);
    return found || PyErr_Occurred() ? found : nothing();
}
