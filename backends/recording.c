/* What is done for every recorded step, without Python's help: functions that Python calls as its own.

   They do what the Python in their place does (origin.py, tensor.py, arithmetic.py, known_calls.py, phrases.py), for the cases that come again and
   again; everything else they leave to it. Nothing of Python's headers is needed, and none of its structures is looked into: what is called
   here is exported by every CPython from 3.11 on, and where slots of the package's own classes lie Python has found out (quick.py).
*/

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "public_calls.h"

extern object *PyDescr_NewMethod(object *type, method *);

enum { KEYWORDS = 0x0002, ONE = 0x0008 };

#define OWN_OBJECTS(F) F(numbers) F(truth) F(read) F(node_init) F(storage_init) F(floats)
#define OBJECTS(F) OBJECTS_OF_PHRASES(F) OBJECTS_OF_MEMORY(F) OBJECTS_OF_CALLS(F) OBJECTS_OF_PUBLICS(F) OWN_OBJECTS(F)
OWN_OBJECTS(DECLARE_OBJECT)

/* -- Nodes and tensors */

/* Node.__init__ */
static object *init_node(object *node, object *const *given, ptrdiff_t count, object *names) {
    if (names || count < 7 || count > 8 || AT(node, node_op))
        return with_names(the_node_init, node, given, count, names);
    PUT(node, node_op, given[0]), PUT(node, node_attrs, given[1]), PUT(node, node_inputs, given[2]), PUT(node, node_type, given[3]);
    PUT(node, node_origin, given[4]), PUT(node, node_requires_grad, given[5]), PUT(node, node_order, given[6]);
    PUT(node, node_value, count == 8 ? given[7] : the_None), PUT(node, node_overwritten, the_zero), PUT(node, node_freed, the_False);
    PUT(node, node_mark, the_zero), PUT(node, node_id, the_minus_one), PUT(node, node_device, the_None);
    return nothing();
}

/* Storage.__init__ */
static object *init_storage(object *storage, object *const *given, ptrdiff_t count, object *names) {
    if (names || count != 1 || given[0] == the_None || AT(storage, storage_node))
        return with_names(the_storage_init, storage, given, count, names);
    return fill(storage, given[0]) ? NULL : nothing();
}

/* -- operators */

typedef struct {
    object *op, *label, *calls, *in_full; /* the last: the method that Python has */
    int flipped, compares;
    method own;
} operation;

enum { MOST_OPERATORS = 16, NUMBERS = 1 << 10 };
static operation operations[MOST_OPERATORS];
static int operators;

/* Numbers beside operators that were always the same, by the place in the user's code: entries of arithmetic.py's table. */
static struct {
    object *code, *entry;
    long offset;
} numbers[NUMBERS];

/* The entry for a number at the running place, borrowed; NULL where Python must be asked. */
static object *number_here(object *number, object *own) {
    object *frame = PyEval_GetFrame(), *code = frame ? PyFrame_GetCode(frame) : NULL;
    if (!code)
        return NULL;
    Py_DecRef(code); /* the frame has it */
    long offset = PyFrame_GetLasti(frame);
    size_t at = ((size_t)(uintptr_t)code >> 4 ^ (size_t)offset * 31) % NUMBERS;
    object *entry = numbers[at].code == code && numbers[at].offset == offset ? numbers[at].entry : NULL;
    if (!entry) {
        object *place = Py_BuildValue("(nl)", (ptrdiff_t)code, offset);
        entry = place ? PyDict_GetItemWithError(the_numbers, place) : NULL;
        Py_DecRef(place);
        if (!entry)
            return NULL;
        object *before = numbers[at].entry;
        numbers[at].code = code, numbers[at].offset = offset, numbers[at].entry = kept(entry); /* which has the code */
        Py_DecRef(before);
    }
    if (PyTuple_GetItem(entry, 0) == number && PyObject_RichCompareBool(PyTuple_GetItem(entry, 1), own, EQUAL) == 1)
        return entry;
    numbers[at].code = numbers[at].entry = NULL; /* Python may think otherwise of it from now on */
    Py_DecRef(entry);
    return NULL;
}

static object *operate(const operation *made, object *self, object *other) {
    object *kind = AT(other, class), *x, *y, *own, *text, *both[2] = {self, other};
    if (!is_among(AT(self, class), the_plain) || !(x = node_of(self)) || AT(the_state, state_placement) != the_None)
        goto in_full;
    own = AT(x, node_type);
    int is_float = is_among(PyTuple_GetItem(own, 1), the_floats), has_two = is_among(kind, the_plain);
    if (has_two) {
        if (!(y = node_of(other)))
            goto in_full;
        if (!is_float || (AT(y, node_type) != own && PyObject_RichCompareBool(AT(y, node_type), own, EQUAL) != 1)) {
            if (kind != the_Tensor || AT(self, class) != kind || AT(x, node_requires_grad) != the_False || AT(y, node_requires_grad) != the_False ||
                PyTuple_Size(AT(self, tensor__chain)) || PyTuple_Size(AT(other, tensor__chain)))
                goto in_full;
            object *result = of_two_at(made->calls, made->flipped ? y : x, made->flipped ? x : y, 0);
            if (result != the_None)
                return result;
            Py_DecRef(result);
            goto in_full;
        }
        text = line(0);
    } else if (is_float && (kind == the_int || (kind == the_float && PyFloat_AsDouble(other) != 0.0))) { /* -0.0 is equal to 0.0 */
        object *entry = number_here(other, own);
        if (!entry)
            goto in_full;
        y = PyTuple_GetItem(entry, 2), text = kept(PyTuple_GetItem(entry, 3));
    } else
        goto in_full;
    if (!text)
        return NULL;
    int tracked = AT(the_state, state_grad) == the_True && (AT(x, node_requires_grad) == the_True || (has_two && AT(y, node_requires_grad) == the_True));
    if (made->compares) {
        tracked = 0;
        if (!(own = PyDict_GetItemWithError(the_truth, own))) {
            Py_DecRef(text);
            goto in_full;
        }
    }
    object *inputs = made->flipped ? pair(y, x) : pair(x, y);
    object *result = wrapped(new_node(made->op, the_nothing, inputs, own, text, tracked, places(1)));
    if (!result || (tracked && PyObject_SetAttr(result, the_label, made->label))) {
        Py_DecRef(result);
        return NULL;
    }
    int follows = PyTuple_Size(AT(self, tensor__chain)) && is_ordered(self);
    if (follows || (has_two && kind == the_Tensor && PyTuple_Size(AT(other, tensor__chain)) && is_ordered(other))) {
        object *operands = made->flipped ? pair(other, self) : pair(self, other), *given[2] = {result, operands};
        object *answer = operands ? PyObject_Vectorcall(the_follow, given, 2, NULL) : NULL;
        Py_DecRef(operands), Py_DecRef(answer);
        if (!answer) {
            Py_DecRef(result);
            return NULL;
        }
    }
    return result;
in_full:
    return PyErr_Occurred() ? NULL : PyObject_Vectorcall(made->in_full, both, 2, NULL);
}

#define EVERY_OPERATOR(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)
#define OPERATOR(k) \
    static object *operator_##k(object *self, object *other) { \
        return operate(&operations[k], self, other); \
    }
EVERY_OPERATOR(OPERATOR)
#define NAMED(k) operator_##k,
static object *(*const operator_functions[])(object *, object *) = {EVERY_OPERATOR(NAMED)};

/* The method of Tensor for an operator; NULL without an error: there is no room. Everything given is kept. */
object *lamina_operator(object *name, object *op, object *label, object *calls, object *in_full, int flipped, int compares) {
    if (operators == MOST_OPERATORS)
        return nothing();
    operation *made = &operations[operators];
    made->op = kept(op), made->label = kept(label), made->calls = kept(calls), made->in_full = kept(in_full);
    made->flipped = flipped, made->compares = compares;
    made->own.name = PyUnicode_AsUTF8(kept(name)), made->own.flags = ONE;
    made->own.function = (object * (*)(object *, object *const *, ptrdiff_t)) (void (*)(void))operator_functions[operators++];
    return PyDescr_NewMethod(the_Tensor, &made->own);
}

/* nodes_of(tensors), given a list: what each of them holds now. */
static object *nodes_of(object *self, object *const *given, ptrdiff_t count) {
    (void)self;
    ptrdiff_t size = count == 1 ? PyList_Size(given[0]) : 0;
    object *nodes = size < 0 ? NULL : PyList_New(size);
    for (ptrdiff_t k = 0; nodes && k < size; k++) {
        object *tensor = PyList_GetItem(given[0], k), *node = tensor ? node_of(tensor) : NULL;
        if (node)
            Py_IncRef(node);
        else
            node = tensor ? PyObject_Vectorcall(the_read, &tensor, 1, NULL) : NULL;
        if (!node || PyList_SetItem(nodes, k, node)) {
            Py_DecRef(nodes);
            return NULL;
        }
    }
    return nodes;
}

/* holds(tensors, nodes): whether each tensor holds the Node beside it, still. Tensors come from far away in memory: all are asked for first. */
static object *holds(object *self, object *const *given, ptrdiff_t count) {
    (void)self;
    ptrdiff_t size = count == 2 ? PyList_Size(given[0]) : -1;
    if (size < 0 || PyList_Size(given[1]) != size)
        return PyErr_Occurred() ? NULL : kept(the_False);
    for (ptrdiff_t k = 0; k < size; k++)
        __builtin_prefetch(&AT(PyList_GetItem(given[0], k), tensor__node));
    for (ptrdiff_t k = 0; k < size; k++) {
        object *tensor = PyList_GetItem(given[0], k);
        if (!is_among(AT(tensor, class), the_plain) || AT(tensor, tensor__node) != PyList_GetItem(given[1], k))
            return kept(the_False);
        __builtin_prefetch(&AT(AT(tensor, tensor__storage), storage_version));
    }
    for (ptrdiff_t k = 0; k < size; k++)
        if (node_of(PyList_GetItem(given[0], k)) != PyList_GetItem(given[1], k))
            return kept(the_False);
    return kept(the_True);
}

/* are_at(tensors, places): whether each tensor is the view of a memory, at a version, that the tuple beside it says. */
static object *are_at(object *self, object *const *given, ptrdiff_t count) {
    (void)self;
    ptrdiff_t size = count == 2 ? PyList_Size(given[0]) : -1;
    if (size < 0 || PyList_Size(given[1]) != size)
        return PyErr_Occurred() ? NULL : kept(the_False);
    for (ptrdiff_t k = 0; k < size; k++) {
        object *tensor = PyList_GetItem(given[0], k), *place = PyList_GetItem(given[1], k);
        object *storage = is_among(AT(tensor, class), the_plain) ? AT(tensor, tensor__storage) : NULL;
        if (!storage || storage != PyTuple_GetItem(place, 0) || AT(tensor, tensor__chain) != PyTuple_GetItem(place, 1) ||
            !same_number(AT(storage, storage_version), PyTuple_GetItem(place, 2)))
            return kept(the_False);
    }
    return kept(the_True);
}

/* holding(array, type, line): a fresh tensor of an array the host has; line: None for the running one. */
static object *holding(object *self, object *const *given, ptrdiff_t count) {
    (void)self;
    if (count != 3)
        return nothing();
    object *text = given[2] == the_None ? line(0) : kept(given[2]);
    object *node = text ? new_node(the_None, the_nothing, kept(the_nothing), given[1], text, 0, places(1)) : NULL;
    if (!node)
        return NULL;
    object *before = AT(node, node_value);
    PUT(node, node_value, given[0]);
    Py_DecRef(before);
    return wrapped(node);
}

static method readers[] = {
    {"nodes_of", nodes_of, FASTCALL, NULL}, {"holds", holds, FASTCALL, NULL}, {"are_at", are_at, FASTCALL, NULL}, {"holding", holding, FASTCALL, NULL},
    {"in_place", in_place, FASTCALL, NULL},
};

/* The functions; after `lamina_recording`. */
object *lamina_readers(void) {
    object *made[5];
    for (int k = 0; k < 5; k++)
        if (!(made[k] = PyCFunction_NewEx(&readers[k], NULL, NULL)))
            return NULL;
    return Py_BuildValue("(NNNNN)", made[0], made[1], made[2], made[3], made[4]);
}

typedef object *(*unnamed)(object *, object *const *, ptrdiff_t);
static method class_methods[] = {
    {"again", again, FASTCALL, NULL},
    {"of_two", of_two, FASTCALL, NULL},
    {"made_node", made_node, FASTCALL, NULL},
    {"recorded", recorded, FASTCALL, NULL},
    {"_through", through, FASTCALL, NULL},
    {"__getitem__", (unnamed)(void (*)(void))getitem, ONE, NULL},
    {"__setitem__", setitem, FASTCALL, NULL},
    {"detach", detached, FASTCALL, NULL},
    {"_detached", detached, FASTCALL, NULL},
    {"copy_", (unnamed)(void (*)(void))copied, FASTCALL | KEYWORDS, NULL},
    {"__init__", (unnamed)(void (*)(void))init_node, FASTCALL | KEYWORDS, NULL},
    {"__init__", (unnamed)(void (*)(void))init_storage, FASTCALL | KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

/* Fills a list with the methods of classes. homes: the class of each. told: slots and objects by name. False: something is missing. */
object *lamina_recording(object *homes, object *told, object *made) {
    TELL_ALL(OBJECTS)
    for (ptrdiff_t k = 0; class_methods[k].name; k++) {
        object *own = k < PyTuple_Size(homes) ? PyDescr_NewMethod(PyTuple_GetItem(homes, k), &class_methods[k]) : NULL;
        if (!own || PyList_Append(made, own)) {
            Py_DecRef(own);
            return PyErr_Occurred() ? NULL : kept(the_False);
        }
        Py_DecRef(own);
    }
    return kept(the_True);
}
