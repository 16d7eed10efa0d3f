/* What was recorded, recorded again: fresh tensors, and the steps of phrases. */

#include "nodes.h"
#include "lines.h"

extern object *PySequence_List(object *);
extern object *PySequence_GetItem(object *, ptrdiff_t);

#define OBJECTS_OF_PHRASES(F) F(Storage) F(Tensor) F(phrase) F(beside)
OBJECTS_OF_PHRASES(DECLARE_OBJECT)

enum { MOST_RESULTS = 8 };

/* Makes fresh memory that holds a Node. */
static int fill(object *storage, object *node) {
    PUT(storage, storage_node, node), PUT(storage, storage_host, the_None), PUT(storage, storage_history, the_None);
    PUT(storage, storage_version, the_zero), PUT(storage, storage_born, AT(the_state, state_order));
    PUT(storage, storage_inference, AT(the_state, state_inference)), PUT(storage, storage_views, the_None);
    PUT(storage, storage_owners, the_None), PUT(storage, storage_last, the_None), PUT(storage, storage_unheard, the_None);
    return wait_for(storage, node);
}

/* A fresh tensor whose memory holds a Node, which is taken. */
static object *wrapped(object *node) {
    object *storage = node ? PyType_GenericAlloc(the_Storage, 0) : NULL;
    if (!storage) {
        Py_DecRef(node);
        return NULL;
    }
    object *tensor = fill(storage, node) ? NULL : PyType_GenericAlloc(the_Tensor, 0);
    if (!tensor) {
        Py_DecRef(storage), Py_DecRef(node);
        return NULL;
    }
    AT(tensor, tensor__storage) = storage, AT(tensor, tensor__node) = node;
    PUT(tensor, tensor__chain, the_nothing), PUT(tensor, tensor__seen, the_zero);
    return tensor;
}

static object *pair(object *a, object *b) {
    object *made = PyTuple_New(2);
    if (made)
        PyTuple_SetItem(made, 0, kept(a)), PyTuple_SetItem(made, 1, kept(b));
    return made;
}

/* The steps of a phrase, one by one: a list of its operands and their Nodes. */
static object *all_steps_again(object *phrase, object *operands, object *where, int tracked) {
    object *steps = AT(phrase, phrase__steps), *nodes = PySequence_List(operands);
    ptrdiff_t count = PyList_Size(steps);
    long order = places(count), beside = PyLong_AsLong(the_beside);
    for (ptrdiff_t k = 0; nodes && k < count; k++) {
        object *step = PyList_GetItem(steps, k), *without = the_nothing;
        if (PyLong_AsLong(PyTuple_GetItem(step, 3)) == beside)
            without = AT(PyList_GetItem(nodes, PyList_Size(nodes) - 1), node_inputs);
        if (append_step(nodes, step, without, where, tracked, order + k)) {
            Py_DecRef(nodes);
            return NULL;
        }
    }
    return nodes;
}

/* The same; the Node of its result. */
static object *steps_again(object *phrase, object *operands, object *where, int tracked) {
    object *nodes = all_steps_again(phrase, operands, where, tracked), *found = NULL;
    object *number = nodes ? PySequence_GetItem(AT(phrase, phrase__results), 0) : NULL;
    if (number)
        found = kept(PyList_GetItem(nodes, PyLong_AsLong(number)));
    Py_DecRef(number), Py_DecRef(nodes);
    return found;
}

/* Fresh tensors of all results of a phrase for some operands and the constants behind them, given to what puts them together (`known_calls._made_again`). */
static object *results_again(object *phrase, object *constants, object *together, object *const *operands, ptrdiff_t count, long up) {
    object *where = line(up), *numbers = PySequence_List(AT(phrase, phrase__results)), *made[MOST_RESULTS], *result = NULL, *nodes = NULL;
    ptrdiff_t more = PyList_Size(constants), size = numbers ? PyList_Size(numbers) : 0, got = 0;
    object *all = where && numbers ? PyTuple_New(count + more) : NULL;
    for (ptrdiff_t k = 0; all && k < count + more; k++)
        PyTuple_SetItem(all, k, kept(k < count ? operands[k] : PyList_GetItem(constants, k - count)));
    if (all)
        nodes = all_steps_again(phrase, all, where, AT(the_state, state_grad) == the_True && reads_tracked(all));
    while (nodes && got < size) {
        made[got] = wrapped(kept(PyList_GetItem(nodes, PyLong_AsLong(PyList_GetItem(numbers, got)))));
        if (!made[got])
            break;
        got++;
    }
    if (nodes && got == size)
        result = PyObject_Vectorcall(together, made, (size_t)size, NULL);
    while (got)
        Py_DecRef(made[--got]);
    Py_DecRef(nodes), Py_DecRef(all), Py_DecRef(numbers), Py_DecRef(where);
    return result;
}

/* The one result of a phrase for some operands and the constants behind them, if there are any. */
static object *phrase_again(object *phrase, object *constants, object *const *operands, ptrdiff_t count, long up) {
    object *where = line(up);
    ptrdiff_t more = constants ? PyList_Size(constants) : 0;
    object *all = where ? PyTuple_New(count + more) : NULL;
    if (!all) {
        Py_DecRef(where);
        return NULL;
    }
    for (ptrdiff_t k = 0; k < count + more; k++)
        PyTuple_SetItem(all, k, kept(k < count ? operands[k] : PyList_GetItem(constants, k - count)));
    int tracked = AT(the_state, state_grad) == the_True && reads_tracked(all);
    object *steps = AT(phrase, phrase__steps);
    ptrdiff_t length = PyList_Size(steps);
    if (length == 1 || tracked || is_traced()) {
        object *node = steps_again(phrase, all, where, tracked);
        Py_DecRef(all), Py_DecRef(where);
        return node;
    }
    object *own = PyTuple_New(1);
    if (own)
        PyTuple_SetItem(own, 0, kept(phrase));
    long order = places(length) + length - 1;
    object *node = own ? new_node(the_phrase, own, all, PyTuple_GetItem(PyList_GetItem(steps, length - 1), 4), where, 0, order) : NULL;
    Py_DecRef(own);
    return node;
}
