/* Nodes as Python's classes have them: where their slots lie, which Python has found out (quick.py), and fresh ones. */

#include <stdint.h>
#include <stdlib.h>

#include "interpreter.h"

extern object *PyType_GenericAlloc(object *type, ptrdiff_t);
extern object *PyTuple_New(ptrdiff_t);
extern int PyTuple_SetItem(object *, ptrdiff_t, object *);
extern int PyList_Append(object *, object *);
extern object *PyDict_GetItemString(object *, const char *);
extern object *PyObject_CallNoArgs(object *);
extern object *PyWeakref_NewRef(object *, object *);
extern int PyObject_RichCompareBool(object *, object *, int);

enum { EQUAL = 2 };

static inline object *nothing(void) {
    return Py_BuildValue("");
}

/* -- what Python tells: where slots lie, and objects of its modules, by name */

#define SLOTS_OF_CLASSES(F) \
    F(class) \
    F(node_op) F(node_attrs) F(node_inputs) F(node_type) F(node_origin) F(node_requires_grad) F(node_order) F(node_value) \
    F(node_overwritten) F(node_freed) F(node_mark) F(node_id) F(node_device) \
    F(storage_node) F(storage_host) F(storage_history) F(storage_version) F(storage_views) F(storage_owners) F(storage_last) \
    F(storage_born) F(storage_inference) F(storage_unheard) \
    F(boundary_leaf) F(accumulation_owner) F(accumulation_heard) F(gathered_params) F(gathered_step) F(gathered_node) F(gathered__known) \
    F(plan_inputs) F(plan_results) F(plan_renamed) F(plan_done) F(plan_maybe_done) F(plan_dying) F(plan_held) F(plan_bundle) F(plan_track) F(plan_last) \
    F(dying_looked_at) F(dying__known) \
    F(tensor__storage) F(tensor__chain) F(tensor__node) F(tensor__seen) \
    F(state_order) F(state_bound) F(state_pending) F(state_grad) F(state_inference) F(state_placement) F(state_levels) F(state_duals) \
    F(state_traces) F(state_watch) F(state_escaped) F(state_arrived) F(state_watchers) F(state_noted) F(state_asked) F(state_places) F(state_shown) F(state_flushed) F(state_suspected) F(state_doubts) F(state_witness) F(state_run) F(calls_by_place) \
    F(phrase__steps) F(phrase__results) F(phrase__as_one) F(anew_op) F(anew_attrs) F(anew_type) F(anew_device) F(anew_copy) \
    F(detached_counted) F(detached_node)
#define OBJECTS_OF_NODES(F) \
    F(Node) F(state) F(full) F(fill_in) F(at_bound) F(None) F(True) F(False) F(nothing) F(zero) F(minus_one)

#define DECLARE_SLOT(name) static ptrdiff_t at_##name;
#define DECLARE_OBJECT(name) static object *the_##name;
SLOTS_OF_CLASSES(DECLARE_SLOT)
OBJECTS_OF_NODES(DECLARE_OBJECT)

/* Puts what Python told in its places; gives False where something is missing. */
#define TELL_SLOT(name) \
    if (!(found = PyDict_GetItemString(told, #name))) \
        return kept(the_False); \
    at_##name = PyLong_AsLong(found);
#define TELL_OBJECT(name) \
    if (!(found = PyDict_GetItemString(told, #name))) \
        return kept(the_False); \
    the_##name = kept(found);
#define TELL_ALL(OBJECTS) \
    object *found; \
    if (!(the_False = PyDict_GetItemString(told, "False"))) \
        return nothing(); \
    SLOTS_OF_CLASSES(TELL_SLOT) \
    OBJECTS_OF_NODES(TELL_OBJECT) \
    OBJECTS(TELL_OBJECT)

#define AT(thing, slot) (*(object **)((char *)(thing) + at_##slot))
#define PUT(thing, slot, value) (AT(thing, slot) = kept(value))
#define SET(thing, slot, value) \
    do { \
        object *before_ = AT(thing, slot); \
        PUT(thing, slot, value); \
        Py_DecRef(before_); \
    } while (0)

static inline object *kept(object *value) {
    Py_IncRef(value);
    return value;
}

static inline int is_among(object *wanted, object *tuple) {
    ptrdiff_t count = PyTuple_Size(tuple);
    for (ptrdiff_t k = 0; k < count; k++)
        if (PyTuple_GetItem(tuple, k) == wanted)
            return 1;
    return 0;
}

static inline int same_number(object *a, object *b) {
    return a == b || PyLong_AsLong(a) == PyLong_AsLong(b);
}

/* Whether somebody looks at every single step. */
static inline int is_traced(void) {
    object *state = the_state;
    return AT(state, state_placement) != the_None || AT(state, state_watch) != the_None || PyList_Size(AT(state, state_levels)) ||
           PyList_Size(AT(state, state_duals)) || !same_number(AT(state, state_traces), the_zero);
}

/* The next places in the recording; gives the first of them. */
static inline long places(long count) {
    object *before = AT(the_state, state_order);
    long first = PyLong_AsLong(before) + 1;
    object *after = PyLong_FromLong(first + count - 1);
    if (!after)
        return -1;
    AT(the_state, state_order) = after;
    Py_DecRef(before);
    return first;
}

/* A Node without a value. inputs and origin are taken, not copied. */
static inline object *new_node(object *op, object *attrs, object *inputs, object *type, object *origin, int tracked, long order) {
    object *place = PyLong_FromLong(order), *node = place && inputs && origin ? PyType_GenericAlloc(the_Node, 0) : NULL;
    if (!node) {
        Py_DecRef(place), Py_DecRef(inputs), Py_DecRef(origin);
        return NULL;
    }
    PUT(node, node_op, op), PUT(node, node_attrs, attrs), PUT(node, node_type, type);
    AT(node, node_inputs) = inputs, AT(node, node_origin) = origin, AT(node, node_order) = place;
    PUT(node, node_requires_grad, tracked ? the_True : the_False);
    PUT(node, node_value, the_None), PUT(node, node_overwritten, the_zero), PUT(node, node_freed, the_False);
    PUT(node, node_mark, the_zero), PUT(node, node_id, the_minus_one), PUT(node, node_device, the_None);
    return node;
}

/* Whether a step that reads these is tracked. */
static inline int reads_tracked(object *inputs) {
    ptrdiff_t count = PyTuple_Size(inputs);
    for (ptrdiff_t k = 0; k < count; k++)
        if (AT(PyTuple_GetItem(inputs, k), node_requires_grad) == the_True)
            return 1;
    return 0;
}

/* A step of a phrase (phrases.py) made again: its Node, behind those it reads. without: what it reads if it names none of them; where: its line, unless
   it has one of its own. */
static inline int append_step(object *nodes, object *step, object *without, object *where, int may_be, long order) {
    object *pick = PyTuple_GetItem(step, 2), *line = PyTuple_GetItem(step, 6), *inputs;
    long only = PyLong_AsLong(PyTuple_GetItem(step, 3));
    if (pick != the_None)
        inputs = PyObject_Vectorcall(pick, &nodes, 1, NULL);
    else if (only >= 0) {
        if ((inputs = PyTuple_New(1)))
            PyTuple_SetItem(inputs, 0, kept(PyList_GetItem(nodes, only)));
    } else
        inputs = kept(without);
    int tracked = may_be && inputs && PyTuple_GetItem(step, 5) == the_True && reads_tracked(inputs);
    object *origin = kept(line == the_None ? where : line);
    object *node = new_node(PyTuple_GetItem(step, 0), PyTuple_GetItem(step, 1), inputs, PyTuple_GetItem(step, 4), origin, tracked, order);
    int failed = !node || PyList_Append(nodes, node);
    Py_DecRef(node);
    return failed ? -1 : 0;
}

/* What has no value yet is computed at the next flush. */
static inline int wait_for(object *storage, object *node) {
    if (AT(node, node_value) != the_None)
        return 0;
    object *answer;
    if (AT(node, node_op) == the_full || PyObject_RichCompareBool(AT(node, node_op), the_full, EQUAL) == 1)
        answer = PyObject_Vectorcall(the_fill_in, &node, 1, NULL);
    else {
        object *weak = PyWeakref_NewRef(storage, NULL);
        if (!weak || PyList_Append(AT(the_state, state_pending), weak)) {
            Py_DecRef(weak);
            return -1;
        }
        Py_DecRef(weak);
        if (PyLong_AsLong(AT(the_state, state_order)) <= PyLong_AsLong(AT(the_state, state_bound)))
            return 0;
        answer = PyObject_CallNoArgs(the_at_bound);
    }
    Py_DecRef(answer);
    return answer ? 0 : -1;
}

/* The Node a tensor holds now, borrowed; NULL where it must be read, or there is more to the tensor's class. What was written since it was read last is
   read here where the tensor is all of its memory. */
static inline object *node_of(object *tensor) {
    object *storage = AT(tensor, tensor__storage), *seen = AT(tensor, tensor__seen);
    if (!storage || !seen)
        return NULL;
    object *version = AT(storage, storage_version), *node = AT(storage, storage_node), *before = AT(tensor, tensor__node);
    if (same_number(seen, version))
        return before;
    if (AT(storage, storage_host) != the_None || PyTuple_Size(AT(tensor, tensor__chain)))
        return NULL;
    PUT(tensor, tensor__node, node), PUT(tensor, tensor__seen, version);
    Py_DecRef(before), Py_DecRef(seen);
    return node;
}
