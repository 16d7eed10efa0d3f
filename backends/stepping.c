/* What every step of a loop does around its ops, without Python's help: the way of a flush, backward's tape, gradients that arrive, an optimizer's update.

   Functions that Python calls as its own (quick.py). They do what the Python in their place does (track.py, autograd/backward.py, leaves.py, gathered.py,
   phrases.py) for the cases that come again and again; everything else they leave to it.
*/

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "nodes.h"

#define OBJECTS_OF_READING(F) F(Storage) F(array) F(plain) F(int) F(float) F(bool) F(tracks) F(limit) F(show) F(failed)

extern object *PyCapsule_New(void *, const char *, void (*)(object *));
extern void *PyCapsule_GetPointer(object *, const char *);
extern object *PyDescr_NewMethod(object *type, method *);
extern object *PyErr_NoMemory(void);
extern object *PyObject_GetAttr(object *, object *);
extern int PyObject_SetAttr(object *, object *, object *);
extern ptrdiff_t PyObject_Size(object *);
extern object *PyDict_New(void);
extern object *PyDict_GetItemWithError(object *, object *);
extern int PyDict_Next(object *, ptrdiff_t *, object **, object **);

#define OBJECTS(F) \
    F(Boundary) F(Bundle) F(LeafMark) F(phrase) F(result) F(held) F(beside) F(expand) F(fresh_mark) F(was_overwritten) F(tape) \
    F(arrive) F(update) F(append) F(read) F(write) F(forget) F(grad_name) F(hooks_name) F(post_hooks_name) F(mark_name) F(told_name) F(read_name) F(outputs_name) \
    F(run) F(dying) F(is_freed) F(looking) F(counted) OBJECTS_OF_READING(F)

OBJECTS(DECLARE_OBJECT)

static int is_same(object *a, object *b) {
    return a == b || PyObject_RichCompareBool(a, b, EQUAL) == 1;
}

static object *in_full(object *function, object *self, object *const *given, ptrdiff_t count) {
    enum { MOST = 5 };
    object *all[MOST] = {self};
    for (ptrdiff_t k = 0; k < count && k < MOST - 1; k++)
        all[k + 1] = given[k];
    return PyErr_Occurred() ? NULL : PyObject_Vectorcall(function, all, 1 + (size_t)count, NULL);
}

/* -- tracks: whether some roots lead where a walk went before */

enum { LONGEST = 512, TABLE = 4 * LONGEST, ANYWHERE_ENDS = 0, NO_END = 1, INNER_END = 2, LEAF_END = 3 };

/* A Node as it was met. */
typedef struct {
    object *op; /* NULL: it was computed */
    ptrdiff_t inputs, first; /* how many, and the place of the first one in `places`; of a computed Node only whether there are some */
    int tracked, freed, end, holder;
} met;

/* places: of what roots and inputs are, one after the other; below 0: -1 minus the place of a Node that was met before. ordered: Nodes that were recorded
   in this order. */
typedef struct {
    ptrdiff_t roots, nodes, recorded, size; /* the last: of the table, a power of two */
    met *rows;
    ptrdiff_t *places, *ordered;
} way;

static void let_go_of_way(object *capsule) {
    way *own = PyCapsule_GetPointer(capsule, NULL);
    for (ptrdiff_t k = 0; own->rows && k < own->nodes; k++)
        Py_DecRef(own->rows[k].op);
    free(own->rows), free(own->places), free(own->ordered), free(own);
}

/* Names for what is in a list or tuple of the right length; 0: a Node that was met before is another one. */
static int unpack(object *from, int is_list, const ptrdiff_t *places, ptrdiff_t count, object **nodes) {
    for (ptrdiff_t k = 0; k < count; k++) {
        object *node = is_list ? PyList_GetItem(from, k) : PyTuple_GetItem(from, k);
        if (places[k] >= 0)
            nodes[places[k]] = node;
        else if (nodes[-1 - places[k]] != node)
            return 0;
    }
    return 1;
}

/* Whether a pointer is new to a table of them. */
static int enter(void **table, ptrdiff_t size, void *pointer) {
    size_t at = (size_t)(((uint64_t)(uintptr_t)pointer >> 4) * 0x9E3779B97F4A7C15u >> 32) & (size_t)(size - 1);
    for (; table[at]; at = (at + 1) & (size_t)(size - 1))
        if (table[at] == pointer)
            return 0;
    table[at] = pointer;
    return 1;
}

static int is_as_met(const met *row, object *node, object **nodes, void **arrays, ptrdiff_t size) {
    object *value = AT(node, node_value), *inputs = AT(node, node_inputs);
    if ((AT(node, node_requires_grad) == the_True) != row->tracked || (AT(node, node_freed) == the_True) != row->freed)
        return 0;
    if (row->end != ANYWHERE_ENDS) {
        int end = AT(node, class) != the_Boundary ? NO_END : AT(node, boundary_leaf) == the_True ? LEAF_END : INNER_END;
        if (end != row->end)
            return 0;
    }
    if (row->op)
        return value == the_None && is_same(AT(node, node_op), row->op) && PyTuple_Size(inputs) == row->inputs;
    if (value == the_None || (PyTuple_Size(inputs) > 0) != (row->inputs > 0) || AT(node, class) == the_Bundle)
        return 0;
    return nodes[row->holder] == node ? enter(arrays, size, value) : value == AT(nodes[row->holder], node_value);
}

/* track(roots): nodes and contents of the walk; None: it is another one. */
static object *track(object *capsule, object *const *given, ptrdiff_t count) {
    const way *own = PyCapsule_GetPointer(capsule, NULL);
    if (!own || count != 1 || PyList_Size(given[0]) != own->roots)
        return PyErr_Occurred() ? NULL : nothing();
    object *nodes[LONGEST];
    void *arrays[TABLE], *distinct[TABLE];
    memset(arrays, 0, (size_t)own->size * sizeof *arrays);
    memset(distinct, 0, (size_t)own->size * sizeof *distinct);
    if (!unpack(given[0], 1, own->places, own->roots, nodes))
        return nothing();
    for (ptrdiff_t k = 0; k < own->nodes; k++) {
        const met *row = &own->rows[k];
        if (!is_as_met(row, nodes[k], nodes, arrays, own->size) || !enter(distinct, own->size, nodes[k]))
            return PyErr_Occurred() ? NULL : nothing();
        if (row->op && !unpack(AT(nodes[k], node_inputs), 0, own->places + row->first, row->inputs, nodes))
            return nothing();
    }
    long before = -1;
    for (ptrdiff_t k = 0; k < own->recorded; k++) {
        long order = PyLong_AsLong(AT(nodes[own->ordered[k]], node_order));
        if (order < before)
            return nothing();
        before = order;
    }
    object *all = PyList_New(own->nodes), *contents = PyList_New(own->nodes);
    for (ptrdiff_t k = 0; all && contents && k < own->nodes; k++) {
        PyList_SetItem(all, k, kept(nodes[k]));
        PyList_SetItem(contents, k, kept(own->rows[k].op ? AT(nodes[k], node_attrs) : AT(nodes[k], node_type)));
    }
    if (all && contents)
        return Py_BuildValue("(NN)", all, contents);
    Py_DecRef(all), Py_DecRef(contents);
    return NULL;
}

static method track_method = {"track", track, FASTCALL, NULL};

static ptrdiff_t *numbers_of(object *list, ptrdiff_t *count) {
    *count = PyList_Size(list);
    ptrdiff_t *made = calloc((size_t)*count + 1, sizeof *made);
    for (ptrdiff_t k = 0; made && k < *count; k++)
        made[k] = PyLong_AsLong(PyList_GetItem(list, k));
    return made;
}

/* The track of a walk. rows: of each Node operation (None: computed), number and first place of its inputs, whether it is tracked and freed, where it
   ends, who holds its array first. The Nodes a walk was made of are those of `places`, in the order they are met. */
object *lamina_track(ptrdiff_t roots, object *rows, object *places, object *recorded) {
    ptrdiff_t count = PyList_Size(rows), unused;
    way *made = calloc(1, sizeof *made);
    object *capsule = made ? PyCapsule_New(made, NULL, let_go_of_way) : NULL, *found;
    if (!capsule) {
        free(made);
        return PyErr_NoMemory();
    }
    made->roots = roots, made->size = 4;
    while (made->size < 2 * count)
        made->size *= 2;
    made->rows = calloc((size_t)count + 1, sizeof *made->rows);
    made->places = numbers_of(places, &unused), made->ordered = numbers_of(recorded, &made->recorded);
    if (count > LONGEST || !made->rows || !made->places || !made->ordered) {
        Py_DecRef(capsule);
        return nothing();
    }
    for (; made->nodes < count; made->nodes++) {
        met *row = &made->rows[made->nodes];
        object *told = PyList_GetItem(rows, made->nodes), *op = PyTuple_GetItem(told, 0);
        long numbers[6];
        for (int k = 0; k < 6; k++)
            numbers[k] = PyLong_AsLong(PyTuple_GetItem(told, k + 1));
        *row = (met){op == the_None ? NULL : kept(op), numbers[0], numbers[1], (int)numbers[2], (int)numbers[3], (int)numbers[4], (int)numbers[5]};
    }
    found = PyErr_Occurred() ? NULL : PyCFunction_NewEx(&track_method, capsule, NULL);
    Py_DecRef(capsule);
    return found;
}

/* -- plans: what one flush did, done again */

static object *at(object *list, object *position) {
    return PyList_GetItem(list, PyLong_AsLong(position));
}

/* The inputs of a graph: what some Nodes hold, and the arrays of those that hold several. */
static object *arrays_of(object *plan, object *nodes) {
    object *inputs = AT(plan, plan_inputs), *held = AT(plan, plan_held);
    ptrdiff_t count = PyList_Size(inputs), several = PyList_Size(held);
    object *arrays = PyList_New(count);
    for (ptrdiff_t k = 0; arrays && k < count; k++)
        PyList_SetItem(arrays, k, kept(AT(at(nodes, PyList_GetItem(inputs, k)), node_value)));
    for (ptrdiff_t k = 0; arrays && k < several; k++) {
        object *told = PyList_GetItem(held, k), *own = AT(at(nodes, PyTuple_GetItem(told, 0)), node_value), *places = PyTuple_GetItem(told, 2);
        for (ptrdiff_t i = 0; i < PyList_Size(places); i++)
            PyList_SetItem(arrays, PyLong_AsLong(PyList_GetItem(places, i)), kept(PyList_GetItem(own, i)));
    }
    return arrays;
}

/* `Dying.of`: what no one else refers to but the walk itself, as counts of references say. */
static object *spare_of(object *plan, object *nodes) {
    object *dying = AT(plan, plan_dying), *looked_at = AT(dying, dying_looked_at), *given[2] = {dying, nodes}, *found = NULL;
    ptrdiff_t count = PyList_Size(looked_at);
    if (count < 2)
        return PyDict_New();
    object *counts = the_counted == the_True ? PyTuple_New(count) : NULL;
    for (ptrdiff_t k = 0; counts && k < count; k++) {
        object *node = at(nodes, PyList_GetItem(looked_at, k));
        PyTuple_SetItem(counts, k, PyLong_FromLong((long)(*(const uint64_t *)node & 0xFFFFFFFF) + PyLong_AsLong(the_looking)));
    }
    if (counts)
        found = PyDict_GetItemWithError(AT(dying, dying__known), counts);
    Py_DecRef(counts);
    return found ? kept(found) : PyErr_Occurred() ? NULL : PyObject_Vectorcall(the_dying, given, 2, NULL);
}

/* Puts results of a graph in their Nodes. */
static int put_results(object *plan, object *nodes, object *results) {
    object *single = AT(plan, plan_results), *held = AT(plan, plan_held);
    for (ptrdiff_t k = 0; k < PyList_Size(single); k++) {
        object *told = PyList_GetItem(single, k), *node = at(nodes, PyTuple_GetItem(told, 0)), *value = at(results, PyTuple_GetItem(told, 1));
        if (!value)
            return 0;
        SET(node, node_value, value);
    }
    for (ptrdiff_t k = 0; k < PyList_Size(held); k++) {
        object *told = PyList_GetItem(held, k), *outputs = PyTuple_GetItem(told, 3);
        if (PyLong_AsLong(PyTuple_GetItem(told, 1)) < 0)
            continue;
        object *own = PyList_New(PyList_Size(outputs)), *value = own, *node = at(nodes, PyTuple_GetItem(told, 1));
        for (ptrdiff_t i = 0; value && i < PyList_Size(outputs); i++)
            if ((value = at(results, PyList_GetItem(outputs, i))))
                PyList_SetItem(own, i, kept(value));
        if (value)
            SET(node, node_value, own);
        Py_DecRef(own);
        if (!value)
            return 0;
    }
    return 1;
}

static void forget_inputs(object *nodes, object *positions) {
    for (ptrdiff_t k = 0; k < PyList_Size(positions); k++)
        SET(at(nodes, PyList_GetItem(positions, k)), node_inputs, the_nothing);
}

/* Those of the steps that may have been freed that are, as positions. */
static object *freed_of(object *plan, object *nodes) {
    object *maybe = AT(plan, plan_maybe_done), *freed = PyList_New(0);
    for (ptrdiff_t k = 0; freed && k < PyList_Size(maybe); k++) {
        object *position = PyList_GetItem(maybe, k), *node = at(nodes, position);
        object *answer = AT(node, node_freed) == the_True ? PyObject_Vectorcall(the_is_freed, &node, 1, NULL) : kept(the_False);
        if (!answer || (answer == the_True && PyList_Append(freed, position))) {
            Py_DecRef(answer), Py_DecRef(freed);
            return NULL;
        }
        Py_DecRef(answer);
    }
    return freed;
}

/* Plan.run(nodes, graph, run) */
static object *run(object *plan, object *const *given, ptrdiff_t count) {
    if (count != 3 || PyLong_AsLong(AT(plan, plan_bundle)) >= 0)
        return in_full(the_run, plan, given, count);
    object *nodes = given[0], *freed = freed_of(plan, nodes), *arrays = freed ? arrays_of(plan, nodes) : NULL;
    object *outputs = arrays ? PyObject_GetAttr(given[1], the_outputs_name) : NULL;
    int is_done = outputs != NULL;
    if (is_done && PyObject_Size(outputs)) {
        int can_reuse = PyList_Size(freed) == PyList_Size(AT(plan, plan_maybe_done));
        object *all[3] = {given[1], arrays, can_reuse ? spare_of(plan, nodes) : kept(the_None)};
        object *results = all[2] ? PyObject_Vectorcall(given[2], all, 3, NULL) : NULL;
        is_done = results && put_results(plan, nodes, results);
        Py_DecRef(all[2]), Py_DecRef(results);
    }
    object *renamed = AT(plan, plan_renamed);
    for (ptrdiff_t k = 0; is_done && k < PyList_Size(renamed); k++) {
        object *told = PyList_GetItem(renamed, k);
        SET(at(nodes, PyTuple_GetItem(told, 0)), node_value, at(arrays, PyTuple_GetItem(told, 1)));
    }
    if (is_done) {
        forget_inputs(nodes, AT(plan, plan_done));
        forget_inputs(nodes, freed);
    }
    Py_DecRef(outputs), Py_DecRef(arrays), Py_DecRef(freed);
    return is_done ? nothing() : NULL;
}

#include "reading.h"

/* -- backward's tape */

typedef struct {
    object **nodes;
    ptrdiff_t count, room;
} pile;

static int put_on(pile *own, object *node) {
    if (own->count == own->room) {
        ptrdiff_t room = own->room ? 2 * own->room : 64;
        object **more = realloc(own->nodes, (size_t)room * sizeof *more);
        if (!more)
            return 0;
        own->nodes = more, own->room = room;
    }
    own->nodes[own->count++] = node;
    return 1;
}

/* Whether the memory a step read was written since, where that is to be seen: 1; -1: an error. */
static int is_rewritten(object *input, object *order, long at) {
    if (PyLong_AsLong(AT(input, node_overwritten)) > at)
        return 1;
    if (!is_same(AT(input, node_op), the_expand))
        return 0;
    object *given[2] = {input, order}, *answer = PyObject_Vectorcall(the_was_overwritten, given, 2, NULL);
    Py_DecRef(answer);
    return answer ? answer == the_True : -1;
}

/* _tape(root, stop): steps and ends, where nothing on the way is to be looked at twice. */
static object *tape(object *self, object *const *given, ptrdiff_t count) {
    (void)self;
    if (count != 2 || PyObject_Size(given[1]))
        return PyErr_Occurred() ? NULL : PyObject_Vectorcall(the_tape, given, (size_t)count, NULL);
    object *mark = PyObject_CallNoArgs(the_fresh_mark), *steps = mark ? PyList_New(0) : NULL, *ends = steps ? PyList_New(0) : NULL;
    pile stack = {NULL, 0, 0};
    int is_plain = ends && put_on(&stack, given[0]);
    if (is_plain)
        SET(given[0], node_mark, mark);
    while (is_plain && stack.count) {
        object *node = stack.nodes[--stack.count], *kind = AT(node, class);
        if (kind == the_Boundary) {
            is_plain = !PyList_Append(ends, node);
            continue;
        }
        object *inputs = AT(node, node_inputs), *order = AT(node, node_order);
        ptrdiff_t read = PyTuple_Size(inputs);
        long at = PyLong_AsLong(order);
        is_plain = kind == the_Node && AT(node, node_freed) == the_False && same_number(AT(node, node_overwritten), the_zero) && !PyList_Append(steps, node);
        for (ptrdiff_t k = 0; is_plain && k < read; k++) {
            object *input = PyTuple_GetItem(inputs, k);
            is_plain = !is_rewritten(input, order, at);
            if (!is_plain || AT(input, node_requires_grad) != the_True || AT(input, node_mark) == mark)
                continue;
            SET(input, node_mark, mark);
            is_plain = put_on(&stack, input);
        }
    }
    free(stack.nodes);
    Py_DecRef(mark);
    if (is_plain && !PyErr_Occurred())
        return Py_BuildValue("(NN)", steps, ends);
    Py_DecRef(steps), Py_DecRef(ends);
    return PyErr_Occurred() ? NULL : PyObject_Vectorcall(the_tape, given, 2, NULL);
}

/* -- gradients that arrive at leaves */

/* Whether an attribute of a tensor is None; -1: an error. */
static int is_none(object *tensor, object *name) {
    object *value = PyObject_GetAttr(tensor, name);
    Py_DecRef(value);
    return value ? value == the_None : -1;
}

/* Whether a tensor is all of its memory, as its own link in its chain says. */
static int is_row_by_row(object *leaf) {
    object *chain = AT(leaf, tensor__chain), *storage = AT(leaf, tensor__storage);
    if (PyTuple_Size(chain) != 1 || AT(storage, storage_host) != the_None)
        return 0;
    object *own = PyObject_GetAttr(leaf, the_mark_name);
    Py_DecRef(own); /* the leaf has it */
    return own && own == PyTuple_GetItem(chain, 0);
}

static int is_for_now(object *gradient) {
    return (AT(gradient, class) == the_Node || AT(gradient, class) == the_Boundary) && AT(gradient, node_requires_grad) == the_False &&
           AT(gradient, node_value) == the_None && !is_same(AT(gradient, node_op), the_full);
}

/* Accumulation.__call__ */
static object *arrive(object *self, object *const *given, ptrdiff_t count, object *names) {
    object *owner = AT(self, accumulation_owner);
    if (names || count != 1 || AT(self, accumulation_heard) != the_None || AT(the_state, state_placement) != the_None ||
        AT(the_state, state_watch) != the_None || PyList_Size(AT(the_state, state_levels)) || PyList_Size(AT(the_state, state_escaped)) ||
        !is_for_now(given[0])) {
        object *all[2] = {self, count ? given[0] : NULL};
        return PyErr_Occurred() ? NULL : PyObject_Vectorcall(the_arrive, all, 1 + (size_t)count, names);
    }
    object *leaf = PyObject_CallNoArgs(owner);
    int is_plain = leaf && leaf != the_None && is_none(leaf, the_grad_name) == 1 && is_none(leaf, the_hooks_name) == 1 &&
                   is_none(leaf, the_post_hooks_name) == 1 && is_row_by_row(leaf);
    if (is_plain)
        is_plain = !PyObject_SetAttr(leaf, the_grad_name, given[0]) && !PyList_Append(AT(the_state, state_arrived), owner);
    Py_DecRef(leaf);
    return is_plain ? PyList_New(0) : in_full(the_arrive, self, given, 1);
}

/* -- phrases */

/* Phrase._append(nodes, where, order, may_be) */
static object *append(object *phrase, object *const *given, ptrdiff_t count) {
    if (count != 4 || AT(the_state, state_placement) != the_None)
        return in_full(the_append, phrase, given, count);
    object *nodes = given[0], *where = given[1], *steps = AT(phrase, phrase__steps);
    long order = PyLong_AsLong(given[2]), beside = PyLong_AsLong(the_beside);
    int may_be = given[3] == the_True;
    ptrdiff_t length = PyList_Size(steps);
    for (ptrdiff_t k = 0; k < length; k++) {
        object *step = PyList_GetItem(steps, k), *without = the_nothing;
        if (PyLong_AsLong(PyTuple_GetItem(step, 3)) == beside)
            without = AT(PyList_GetItem(nodes, PyList_Size(nodes) - 1), node_inputs);
        if (append_step(nodes, step, without, where, may_be, ++order))
            return NULL;
    }
    return kept(nodes);
}

/* The results of a phrase of untracked operands, and the Node with what the last operand's arrays become, in a list. */
static object *with_held(object *phrase, object *operands, object *types, object *results, object *where) {
    object *steps = AT(phrase, phrase__steps), *held = PyTuple_GetItem(operands, PyTuple_Size(operands) - 1);
    ptrdiff_t count = PyList_Size(results);
    long order = places(PyList_Size(steps)) ;
    object *own = PyTuple_New(1), *whole = PyTuple_New(1), *made = PyList_New(count + 1), *node;
    int is_whole = own && whole && made;
    if (own)
        PyTuple_SetItem(own, 0, kept(phrase));
    if (is_whole && (node = new_node(the_phrase, own, kept(operands), types, kept(where), 0, order)))
        PyTuple_SetItem(whole, 0, node);
    else
        is_whole = 0;
    for (ptrdiff_t k = 0; is_whole && k < count; k++) {
        object *result = PyList_GetItem(results, k);
        long behind = PyLong_AsLong(PyTuple_GetItem(result, 2));
        object *line = PyTuple_GetItem(PyList_GetItem(steps, behind), 6);
        node = new_node(the_result, PyTuple_GetItem(result, 0), kept(whole), PyTuple_GetItem(result, 1), kept(line == the_None ? where : line), 0, order + behind);
        is_whole = node && !PyList_SetItem(made, k, node);
    }
    if (is_whole)
        is_whole = (node = new_node(the_held, the_nothing, kept(whole), AT(held, node_type), kept(where), 0, order)) && !PyList_SetItem(made, count, node);
    Py_DecRef(own), Py_DecRef(whole);
    if (is_whole)
        return made;
    Py_DecRef(made);
    return NULL;
}

/* -- an optimizer's update of parameters whose state is one Node */

/* New contents of a parameter that is all of its memory; 0: an error. start: what was read up to there is overwritten from then on. */
static int replace(object *p, object *node, object *start, object *since) {
    object *storage = AT(p, tensor__storage), *chain = AT(p, tensor__chain), *old = AT(storage, storage_node), *views = AT(storage, storage_views);
    int is_plain = AT(storage, storage_host) == the_None && PyTuple_Size(chain) == 1 && AT(PyTuple_GetItem(chain, 0), class) == the_LeafMark &&
                   old != the_None && AT(old, node_requires_grad) == the_False && AT(storage, storage_unheard) == the_None;
    if (!is_plain) {
        object *given[3] = {p, node, start}, *answer = PyObject_Vectorcall(the_write, given, 3, NULL);
        Py_DecRef(answer);
        return answer != NULL;
    }
    SET(old, node_overwritten, since);
    if (views != the_None) {
        object *name, *view;
        ptrdiff_t at = 0;
        while (PyDict_Next(views, &at, &name, &view))
            SET(view, node_overwritten, since);
        SET(storage, storage_views, the_None);
    }
    if (AT(storage, storage_last) != the_None) {
        SET(AT(storage, storage_last), node_overwritten, since);
        SET(storage, storage_last, the_None);
    }
    object *version = PyLong_FromLong(PyLong_AsLong(AT(storage, storage_version)) + 1);
    if (!version)
        return 0;
    SET(storage, storage_version, version);
    Py_DecRef(version);
    SET(storage, storage_node, node);
    if (wait_for(storage, node))
        return 0;
    object *now = AT(p, tensor__node), *told = PyObject_GetAttr(p, the_told_name); /* `_forget` */
    int is_told = told && told != the_None && AT(told, node_requires_grad) == AT(now, node_requires_grad) && is_same(AT(told, node_type), AT(now, node_type));
    if (is_told) {
        SET(p, tensor__node, told);
        SET(p, tensor__seen, the_minus_one);
    }
    Py_DecRef(told);
    if (is_told || !told)
        return told != NULL;
    object *answer = PyObject_Vectorcall(the_forget, &p, 1, NULL);
    Py_DecRef(answer);
    return answer != NULL;
}

/* What a step of the parameters reads, and its types: values and gradients, numbers that change. 0: Python has to look. */
static int operands_of(object *params, object *changing, object *operands, object *types) {
    ptrdiff_t count = PyList_Size(params), numbers = PyTuple_Size(changing);
    for (ptrdiff_t k = 0; k < 2 * count + numbers; k++) {
        object *p = k < 2 * count ? PyList_GetItem(params, k / 2) : NULL, *node;
        if (!p)
            node = kept(PyTuple_GetItem(changing, k - 2 * count));
        else if (k % 2) {
            node = PyObject_GetAttr(p, the_grad_name);
            if (node && AT(node, class) != the_Node) {
                object *tensor = node, *read = PyObject_GetAttr(tensor, the_read_name);
                node = read ? PyObject_CallNoArgs(read) : NULL;
                Py_DecRef(read), Py_DecRef(tensor);
            }
        } else if ((node = node_of(p)))
            Py_IncRef(node);
        else
            node = PyObject_Vectorcall(the_read, &p, 1, NULL);
        if (!node)
            return 0;
        PyList_SetItem(types, k, kept(AT(node, node_type)));
        PyTuple_SetItem(operands, k, node);
    }
    return 1;
}

/* Gathered.update(op, changing, attrs, where) */
static object *update(object *self, object *const *given, ptrdiff_t count) {
    object *params = AT(self, gathered_params), *node = AT(self, gathered_node), *known = AT(self, gathered__known), *start = AT(the_state, state_order);
    if (count != 4 || known == the_None || AT(node, node_value) == the_None || AT(the_state, state_placement) != the_None || AT(the_state, state_watch) != the_None)
        return in_full(the_update, self, given, count);
    ptrdiff_t own = PyList_Size(params), read = 2 * own + PyTuple_Size(given[1]);
    object *operands = PyTuple_New(read + 1), *types = PyList_New(read), *made = NULL, *since = NULL, *weak = NULL;
    Py_IncRef(start), Py_IncRef(known);
    int is_known = operands && types && operands_of(params, given[1], operands, types) && is_same(PyTuple_GetItem(known, 0), given[0]) &&
                   is_same(PyTuple_GetItem(known, 1), given[2]) && is_same(PyTuple_GetItem(known, 2), types);
    object *phrase = is_known ? PyTuple_GetItem(known, 3) : NULL, *as_one = phrase ? AT(phrase, phrase__as_one) : the_None;
    Py_DecRef(types);
    if (as_one == the_None || PyTuple_GetItem(operands, read - 1) == NULL || PyErr_Occurred()) {
        Py_DecRef(operands), Py_DecRef(start), Py_DecRef(known);
        return in_full(the_update, self, given, count);
    }
    PyTuple_SetItem(operands, read, kept(node));
    made = with_held(phrase, operands, PyTuple_GetItem(as_one, 0), PyTuple_GetItem(as_one, 1), given[3]);
    Py_DecRef(operands);
    int is_done = made && PyList_Size(made) == own + 1 && (since = PyLong_FromLong(PyLong_AsLong(start) + 1));
    if (is_done)
        SET(self, gathered_node, PyList_GetItem(made, own));
    for (ptrdiff_t k = 0; is_done && k < own; k++)
        is_done = replace(PyList_GetItem(params, k), PyList_GetItem(made, k), start, since);
    Py_DecRef(since), Py_DecRef(made), Py_DecRef(start), Py_DecRef(known);
    if (is_done && AT(self, gathered_step) != the_None) {
        object *step = PyLong_FromLong(PyLong_AsLong(AT(self, gathered_step)) + 1);
        if ((is_done = step != NULL))
            SET(self, gathered_step, step);
        Py_DecRef(step);
    }
    is_done = is_done && (weak = PyWeakref_NewRef(self, NULL)) && !PyList_Append(AT(the_state, state_pending), weak);
    Py_DecRef(weak);
    return is_done ? nothing() : NULL;
}

/* -- what Python is given */

enum { KEYWORDS = 0x0002 };
typedef object *(*unnamed)(object *, object *const *, ptrdiff_t);
static method class_methods[] = {
    {"_append", append, FASTCALL, NULL},
    {"__call__", (unnamed)(void (*)(void))arrive, FASTCALL | KEYWORDS, NULL},
    {"update", update, FASTCALL, NULL},
    {"run", run, FASTCALL, NULL},
};
static method tape_method = {"_tape", tape, FASTCALL, NULL};

/* Methods of classes, and the tape of backward behind them. homes: the classes. told: slots and objects by name. False: something is missing. */
object *lamina_stepping(object *homes, object *told) {
    TELL_ALL(OBJECTS)
    enum { METHODS = sizeof class_methods / sizeof *class_methods };
    object *made = PyTuple_Size(homes) == METHODS ? PyList_New(0) : kept(the_False), *own;
    for (int k = 0; made && made != the_False && k <= METHODS; k++) {
        own = k < METHODS ? PyDescr_NewMethod(PyTuple_GetItem(homes, k), &class_methods[k]) : PyCFunction_NewEx(&tape_method, NULL, NULL);
        if (!own || PyList_Append(made, own)) {
            Py_DecRef(own), Py_DecRef(made);
            return NULL;
        }
        Py_DecRef(own);
    }
    return made;
}
