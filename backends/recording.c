/* What is done for every recorded step, without Python's help: functions that Python calls as its own.

   They do what the Python in their place does (origin.py, tensor.py, arithmetic.py, known_calls.py, phrases.py), for the cases that come again and
   again; everything else they leave to it. Nothing of Python's headers is needed, and none of its structures is looked into: what is called
   here is exported by every CPython from 3.11 on, and where slots of the package's own classes lie Python has found out (quick.py).
*/

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "memory.h"

extern object *PyEval_GetFrame(void);
extern object *PyDescr_NewMethod(object *type, method *);
extern double PyFloat_AsDouble(object *);
extern ptrdiff_t PyObject_Size(object *);

enum { KEYWORDS = 0x0002, ONE = 0x0008 };

#define OWN_OBJECTS(F) \
    F(follow) F(numbers) F(truth) F(regions) F(in_vain) F(redraw) F(again) F(of_two) F(read) F(made_node) F(recorded) F(node_init) F(storage_init) F(by_line) \
    F(seen) F(changes) F(between) F(floats) F(kinds) F(list) F(label) F(skips) F(shown) F(anew) F(Size) F(of_arrays) F(ask)
#define OBJECTS(F) OBJECTS_OF_PHRASES(F) OBJECTS_OF_MEMORY(F) OWN_OBJECTS(F)
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

/* Whether the elements may lie otherwise than row by row. */
static int is_ordered(object *tensor) {
    object *chain = AT(tensor, tensor__chain);
    ptrdiff_t count = PyTuple_Size(chain);
    for (ptrdiff_t k = 0; k < count; k++) {
        object *link = PyTuple_GetItem(chain, k);
        if (AT(link, class) != the_tuple)
            continue;
        object *op = PyTuple_GetItem(link, 0);
        if (op != the_reshape && op != the_slice && PyObject_RichCompareBool(op, the_reshape, EQUAL) != 1 &&
            PyObject_RichCompareBool(op, the_slice, EQUAL) != 1)
            return 1;
    }
    return AT(AT(tensor, tensor__storage), storage_host) != the_None;
}

/* -- calls that are known */

enum { MOST_PARTS = 64, MOST_OPERANDS = 24, FEW = 8 };

/* What a call depends on, as `_key` has it. by_place: also where its operands lie, which are tensors then (`_place`). */
typedef struct {
    object *parts[MOST_PARTS], *operands[MOST_OPERANDS];
    ptrdiff_t count, nodes;
    int by_place;
} spelled;

/* One part, which is taken. 0: there is no more room. */
static int spell(spelled *key, object *part) {
    if (!part || key->count >= MOST_PARTS) {
        Py_DecRef(part);
        return 0;
    }
    key->parts[key->count++] = part;
    return 1;
}

/* A tensor, by where it lies. */
static int spell_place(spelled *key, object *tensor) {
    if (!is_bare(tensor) || key->nodes >= MOST_OPERANDS)
        return 0;
    object *storage = AT(tensor, tensor__storage);
    for (ptrdiff_t k = 0; k < key->nodes; k++)
        if (AT(key->operands[k], tensor__storage) == storage)
            return 0;
    key->operands[key->nodes++] = tensor;
    return spell(key, kept(AT(tensor, tensor__chain))) && spell(key, kept(AT(AT(storage, storage_node), node_type)));
}

/* An argument. 0: Python has to look at it. */
static int spell_value(spelled *key, object *value) {
    object *kind = AT(value, class);
    if (is_among(kind, the_plain) && key->by_place)
        return spell_place(key, value);
    if (is_among(kind, the_plain)) {
        object *node = node_of(value);
        if (!node || (PyTuple_Size(AT(value, tensor__chain)) && is_ordered(value)))
            return 0;
        for (ptrdiff_t k = 0; k < key->nodes && key->nodes < FEW; k++)
            if (key->operands[k] == node)
                return spell(key, PyLong_FromLong(k));
        if (key->nodes >= MOST_OPERANDS)
            return 0;
        key->operands[key->nodes++] = node;
        int tracked = AT(node, node_requires_grad) == the_True;
        return spell(key, kept(AT(node, node_type))) && (!tracked || spell(key, kept(AT(the_state, state_grad))));
    }
    if (is_among(kind, the_kinds) || (kind == the_float && PyFloat_AsDouble(value) != 0.0))
        return spell(key, kept(kind)) && spell(key, kept(value));
    if (kind != the_tuple && kind != the_list && kind != the_Size)
        return 0;
    ptrdiff_t before = key->nodes, start = key->count + 2;
    if (!spell(key, kept(kind)) || !spell(key, kept(the_zero)))
        return 0;
    ptrdiff_t count = kind == the_list ? PyList_Size(value) : PyTuple_Size(value);
    for (ptrdiff_t k = 0; k < count; k++)
        if (!spell_value(key, kind == the_list ? PyList_GetItem(value, k) : PyTuple_GetItem(value, k)))
            return 0;
    object *length = PyLong_FromLong(key->count - start);
    if (!length)
        return 0;
    Py_DecRef(key->parts[start - 1]);
    key->parts[start - 1] = length;
    int known = key->nodes > before;
    for (ptrdiff_t k = before; k < key->nodes; k++) {
        object *node = key->by_place ? AT(AT(key->operands[k], tensor__storage), storage_node) : key->operands[k];
        known = known && AT(node, node_value) != the_None;
    }
    return spell(key, kept(known ? the_True : the_False));
}

static int spell_call(spelled *key, object *args, object *options) {
    ptrdiff_t count = PyTuple_Size(args), at = 0;
    for (ptrdiff_t k = 0; k < count; k++)
        if (!spell_value(key, PyTuple_GetItem(args, k)))
            return 0;
    object *name, *value;
    while (PyDict_Next(options, &at, &name, &value))
        if (!spell(key, kept(name)))
            return 0;
    at = 0;
    while (PyDict_Next(options, &at, &name, &value))
        if (!spell_value(key, value))
            return 0;
    return 1;
}

/* The place of an operator in the user's code, as `operator_site` gives it; NULL where Python must be asked. */
static object *operator_site(void) {
    object *frame = PyObject_Vectorcall(get_frame, &depths[0], 1, NULL);
    while (frame) {
        object *code = PyFrame_GetCode(frame);
        Py_DecRef(code); /* the frame has it */
        long offset = PyFrame_GetLasti(frame);
        place *whole = slot_of(code, OWN);
        if (!whole->code) {
            Py_DecRef(frame);
            return slot_of(code, offset)->code ? Py_BuildValue("(nl)", (ptrdiff_t)code, offset) : NULL;
        }
        object *back = whole->text == the_between ? PyFrame_GetBack(frame) : NULL;
        Py_DecRef(frame);
        frame = back;
    }
    return NULL;
}

/* What is kept of a call at the user's line, borrowed. NULL: Python must be asked, or numbers change there: `changes`. */
static object *at_line(object *calls, object *key, int *changes) {
    object *place = operator_site(), *found = NULL;
    if (place && PyDict_GetItemWithError(the_seen, place) == the_changes)
        *changes = 1;
    else if (place) {
        object *own = pair(place, key);
        found = own ? PyDict_GetItemWithError(calls, own) : NULL;
        Py_DecRef(own);
    }
    Py_DecRef(place);
    return found;
}

/* What a call depends on, as one tuple; NULL without an error: Python has to look. */
static object *spelled_call(spelled *key, object *args, object *options) {
    object *tuple = spell_call(key, args, options) ? PyTuple_New(key->count) : NULL;
    for (ptrdiff_t k = 0; k < key->count; k++)
        if (tuple)
            PyTuple_SetItem(tuple, k, key->parts[k]);
        else
            Py_DecRef(key->parts[k]);
    return tuple;
}

/* What a call gives that shows some of its operands (`known_calls.Shown`). */
static object *shown(object *kept_call, object *const *operands) {
    object *parts = PyTuple_GetItem(kept_call, 0), *together = PyTuple_GetItem(kept_call, 1);
    ptrdiff_t count = PyTuple_Size(parts);
    object *results = together == the_None ? NULL : PyTuple_New(count);
    for (ptrdiff_t k = 0; k < count; k++) {
        object *part = PyTuple_GetItem(parts, k), *chain = PyTuple_GetItem(part, 1), *of = operands[PyLong_AsLong(PyTuple_GetItem(part, 0))];
        object *result = chain == the_None ? kept(of) : view_of(AT(of, tensor__storage), kept(chain));
        if (!result || (PyTuple_GetItem(part, 2) == the_True && PyObject_SetAttr(result, the_several, the_True))) {
            Py_DecRef(result), Py_DecRef(results);
            return NULL;
        }
        if (!results)
            return result;
        PyTuple_SetItem(results, k, result);
    }
    return results;
}

/* The Node of an array made again (`known_calls.Anew`). */
static object *node_anew(object *found) {
    object *array = PyObject_CallNoArgs(AT(found, anew_copy)), *text = array ? line(0) : NULL;
    object *node = text ? new_node(AT(found, anew_op), AT(found, anew_attrs), kept(the_nothing), AT(found, anew_type), text, 0, places(1)) : NULL;
    if (node) {
        SET(node, node_value, array);
        SET(node, node_device, AT(found, anew_device));
    }
    Py_DecRef(array);
    return node;
}

static int makes_itself(object *found) {
    return AT(found, class) == the_redraw || AT(found, class) == the_anew;
}

/* What `Anew` and `sampling.Redraw` make, which are taken. */
static object *made_by(object *maker) {
    object *result = AT(maker, class) == the_anew ? wrapped(node_anew(maker)) : PyObject_CallNoArgs(maker);
    Py_DecRef(maker);
    return result;
}

enum { NO_CALL, UNKNOWN_CALL, KNOWN_CALL, DRAWING_CALL, SHOWING_CALL, OTHER_CALL };

/* `call_again` for a function whose calls are kept by where operands lie; OTHER_CALL: this one is not. */
static int call_by_place(object *calls, object *args, object *options, object **made) {
    spelled key = {.count = 0, .nodes = 0, .by_place = 1};
    object *tuple = spelled_call(&key, args, options), *found = tuple ? PyDict_GetItemWithError(calls, tuple) : NULL;
    Py_DecRef(tuple);
    if (PyErr_Occurred())
        return KNOWN_CALL;
    if (!tuple || found == the_by_line || (found && makes_itself(found))) /* kept before: without tensors there are no places */
        return OTHER_CALL;
    if (!found || found == the_in_vain)
        return PyObject_SetAttr(calls, the_skips, found ? the_True : the_False) ? KNOWN_CALL : NO_CALL;
    if (PyTuple_GetItem(found, AT(found, class) == the_shown ? 2 : 3) == the_True)
        count_up(&AT(the_state, state_asked)), count_up(&AT(the_state, state_places));
    if (AT(found, class) == the_shown) {
        Py_IncRef(found);
        *made = shown(found, key.operands);
        Py_DecRef(found);
        return SHOWING_CALL;
    }
    if (makes_itself(PyTuple_GetItem(found, 0))) {
        *made = kept(PyTuple_GetItem(found, 0));
        return DRAWING_CALL;
    }
    object *phrase = PyTuple_GetItem(found, 0), *together = PyTuple_GetItem(found, 2);
    if (together != the_None && PyObject_Size(AT(phrase, phrase__results)) > MOST_RESULTS)
        return UNKNOWN_CALL;
    for (ptrdiff_t k = 0; k < key.nodes; k++) {
        object *node = key.operands[k] = node_of(key.operands[k]);
        if (!node)
            return PyErr_Occurred() ? KNOWN_CALL : UNKNOWN_CALL;
    }
    Py_IncRef(found);
    if (together != the_None)
        *made = results_again(phrase, PyTuple_GetItem(found, 1), together, key.operands, key.nodes, 1);
    else
        *made = phrase_again(phrase, PyTuple_GetItem(found, 1), key.operands, key.nodes, 1);
    Py_DecRef(found);
    return together != the_None ? SHOWING_CALL : KNOWN_CALL;
}

/* Whether what a call asked has the same answers still; -1: an error. */
static int are_answered(object *looks, object *const *operands) {
    ptrdiff_t count = PyTuple_Size(looks);
    for (ptrdiff_t k = 0; k < count; k++) {
        object *look = PyTuple_GetItem(looks, k), *given[2] = {operands[PyLong_AsLong(PyTuple_GetItem(look, 0))], PyTuple_GetItem(look, 1)};
        object *answer = PyObject_Vectorcall(the_ask, given, 2, NULL);
        Py_DecRef(answer);
        if (answer != PyTuple_GetItem(look, 2))
            return answer ? 0 : -1;
    }
    return 1;
}

/* The Node of a call's result in `made`. NO_CALL: it is not kept; UNKNOWN_CALL: Python has to look; DRAWING_CALL: what is in `made` makes the result
   itself; SHOWING_CALL: it is the result itself. An error: KNOWN_CALL and NULL. */
static int call_again(object *calls, object *args, object *options, object **made) {
    *made = NULL;
    if (AT(the_state, state_placement) != the_None)
        return UNKNOWN_CALL;
    if (is_traced())
        return NO_CALL;
    if (PyDict_Size(the_regions)) /* what is kept there is kept by them, too */
        return UNKNOWN_CALL;
    if (AT(calls, calls_by_place) == the_True) {
        int answer = call_by_place(calls, args, options, made);
        if (answer != OTHER_CALL)
            return answer;
    }
    spelled key = {.count = 0, .nodes = 0, .by_place = 0};
    object *tuple = spelled_call(&key, args, options);
    object *found = tuple ? PyDict_GetItemWithError(calls, tuple) : NULL;
    int skips = found == the_in_vain, answered = skips || (tuple && !found);
    if (found && found == the_by_line && !(found = at_line(calls, tuple, &skips)))
        answered = skips;
    Py_DecRef(tuple);
    if (PyErr_Occurred() || (answered && PyObject_SetAttr(calls, the_skips, skips ? the_True : the_False)))
        return KNOWN_CALL;
    if (answered)
        return NO_CALL;
    if (found && makes_itself(found)) {
        *made = kept(found);
        return DRAWING_CALL;
    }
    if (found && AT(found, class) == the_of_arrays) {
        Py_IncRef(found);
        *made = PyObject_Vectorcall(found, key.operands, (size_t)key.nodes, NULL);
        Py_DecRef(found);
        return SHOWING_CALL;
    }
    if (!found || AT(found, class) != the_tuple)
        return UNKNOWN_CALL;
    object *phrase = PyTuple_GetItem(found, 0), *together = PyTuple_GetItem(found, 2);
    if (together != the_None && PyObject_Size(AT(phrase, phrase__results)) > MOST_RESULTS)
        return UNKNOWN_CALL;
    Py_IncRef(found);
    int answer = are_answered(PyTuple_GetItem(found, 3), key.operands);
    if (answer == 1 && together != the_None) {
        *made = results_again(phrase, PyTuple_GetItem(found, 1), together, key.operands, key.nodes, 1);
        Py_DecRef(found);
        return SHOWING_CALL;
    }
    if (answer == 1)
        *made = phrase_again(phrase, PyTuple_GetItem(found, 1), key.operands, key.nodes, 1);
    Py_DecRef(found);
    return answer || PyObject_SetAttr(calls, the_skips, the_True) ? KNOWN_CALL : NO_CALL;
}

/* KnownCalls.again(args, options). */
static object *again(object *calls, object *const *given, ptrdiff_t count) {
    object *node;
    int known = count == 2 ? call_again(calls, given[0], given[1], &node) : UNKNOWN_CALL;
    if (known == DRAWING_CALL)
        return made_by(node);
    if (known == SHOWING_CALL)
        return node;
    return known == NO_CALL ? nothing() : known == KNOWN_CALL ? wrapped(node) : in_full(the_again, calls, given, count);
}

/* KnownCalls.made_node(args, options). */
static object *made_node(object *calls, object *const *given, ptrdiff_t count) {
    object *node;
    int known = count == 2 && PyDict_Size(calls) ? call_again(calls, given[0], given[1], &node) : UNKNOWN_CALL;
    if (known == DRAWING_CALL && AT(node, class) == the_anew) {
        object *made = node_anew(node);
        Py_DecRef(node);
        return made;
    }
    if (known == DRAWING_CALL || (known == SHOWING_CALL && node))
        Py_DecRef(node);
    if (known == SHOWING_CALL && !node)
        return NULL;
    return known == KNOWN_CALL ? node : in_full(the_made_node, calls, given, count);
}

/* Phrases.recorded(key, operands, function). */
static object *recorded(object *phrases, object *const *given, ptrdiff_t count) {
    if (AT(the_state, state_placement) != the_None)
        return in_full(the_recorded, phrases, given, count);
    object *operands[MOST_OPERANDS], *found = NULL;
    ptrdiff_t nodes = count == 3 && AT(given[1], class) == the_tuple ? PyTuple_Size(given[1]) : MOST_OPERANDS + 1;
    object *types = nodes <= MOST_OPERANDS ? PyTuple_New(nodes) : NULL, *key = NULL;
    if (types) {
        for (ptrdiff_t k = 0; k < nodes; k++) {
            operands[k] = PyTuple_GetItem(given[1], k);
            PyTuple_SetItem(types, k, kept(AT(operands[k], node_type)));
        }
        key = pair(given[0], types);
        found = key ? PyDict_GetItemWithError(phrases, key) : NULL;
    }
    Py_DecRef(types), Py_DecRef(key);
    if (PyErr_Occurred())
        return NULL;
    if (!found || PyObject_Size(AT(found, phrase__results)) != 1)
        return in_full(the_recorded, phrases, given, count);
    Py_IncRef(found);
    object *node = phrase_again(found, NULL, operands, nodes, 1);
    Py_DecRef(found);
    return node ? Py_BuildValue("[N]", node) : NULL;
}

static object *of_two_at(object *calls, object *x, object *y, long up) {
    object *key = pair(AT(x, node_type), AT(y, node_type));
    object *found = key ? PyDict_GetItemWithError(calls, key) : NULL;
    Py_DecRef(key);
    if (!found || AT(found, class) != the_tuple || PyTuple_GetItem(found, 2) != the_None || PyTuple_Size(PyTuple_GetItem(found, 3)))
        return PyErr_Occurred() ? NULL : nothing();
    Py_IncRef(found);
    object *both[2] = {x, y}, *result = wrapped(phrase_again(PyTuple_GetItem(found, 0), PyTuple_GetItem(found, 1), both, 2, up));
    Py_DecRef(found);
    return result;
}

/* KnownCalls.of_two(x, y). */
static object *of_two(object *calls, object *const *given, ptrdiff_t count) {
    if (count == 2 && AT(the_state, state_placement) == the_None)
        return of_two_at(calls, given[0], given[1], 1);
    return in_full(the_of_two, calls, given, count);
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
