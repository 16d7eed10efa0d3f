/* Calls of functions that are known, made again (known_calls.py): what each depends on is spelled as Python spells it, and looked up. */

#include "memory.h"

extern double PyFloat_AsDouble(object *);
extern ptrdiff_t PyObject_Size(object *);

#define OBJECTS_OF_CALLS(F) \
    F(regions) F(in_vain) F(redraw) F(again) F(of_two) F(made_node) F(recorded) F(by_line) F(seen) F(changes) F(between) F(kinds) F(list) F(label) F(skips) \
    F(shown) F(anew) F(Size) F(of_arrays) F(ask) F(mark)
OBJECTS_OF_CALLS(DECLARE_OBJECT)

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

enum { MOST_PARTS = 64, MOST_OPERANDS = 24, FEW = 8 };

/* What a call is given: by place, and by name, either behind those (names) or in a dictionary (options), whichever is there. */
typedef struct {
    object *const *given;
    ptrdiff_t count;
    object *names, *options;
} arguments;

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
        object *node = node_of(value), *chain = AT(value, tensor__chain), *storage = AT(value, tensor__storage);
        if (!node)
            return 0;
        if (PyTuple_Size(chain) && is_ordered(value) &&
            (!is_plain(chain) || AT(storage, storage_host) != the_None || !spell(key, kept(chain)) || !spell(key, kept(AT(AT(storage, storage_node), node_type)))))
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

static int spell_call(spelled *key, const arguments *call) {
    ptrdiff_t named = call->names ? PyTuple_Size(call->names) : 0, at = 0;
    for (ptrdiff_t k = 0; k < call->count; k++)
        if (!spell_value(key, call->given[k]))
            return 0;
    for (ptrdiff_t k = 0; k < named; k++)
        if (!spell(key, kept(PyTuple_GetItem(call->names, k))))
            return 0;
    for (ptrdiff_t k = 0; k < named; k++)
        if (!spell_value(key, call->given[call->count + k]))
            return 0;
    object *name, *value;
    while (call->options && PyDict_Next(call->options, &at, &name, &value))
        if (!spell(key, kept(name)))
            return 0;
    at = 0;
    while (call->options && PyDict_Next(call->options, &at, &name, &value))
        if (!spell_value(key, value))
            return 0;
    return 1;
}

/* The place of an operator in the user's code, as `operator_site` gives it; NULL where Python must be asked. */
static object *operator_site(void) {
    object *frame = PyEval_GetFrame();
    Py_IncRef(frame);
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
static object *spelled_call(spelled *key, const arguments *call) {
    object *tuple = spell_call(key, call) ? PyTuple_New(key->count) : NULL;
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
static int call_by_place(object *calls, const arguments *call, long up, object **made, object **label) {
    spelled key = {.count = 0, .nodes = 0, .by_place = 1};
    object *tuple = spelled_call(&key, call), *found = tuple ? PyDict_GetItemWithError(calls, tuple) : NULL;
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
        *made = results_again(phrase, PyTuple_GetItem(found, 1), together, key.operands, key.nodes, up);
    else
        *made = phrase_again(phrase, PyTuple_GetItem(found, 1), key.operands, key.nodes, up);
    *label = kept(PyTuple_GetItem(found, 4));
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

/* The Node of a call's result in `made`; in `label` what it is called after if it is tracked, where a call is kept as steps. up: as `line` has it. NO_CALL: it is not kept; UNKNOWN_CALL: Python has to look; DRAWING_CALL: what is in `made` makes the result
   itself; SHOWING_CALL: it is the result itself. An error: KNOWN_CALL and NULL. */
static int call_again(object *calls, const arguments *call, long up, object **made, object **label) {
    *made = *label = NULL;
    if (AT(the_state, state_placement) != the_None)
        return UNKNOWN_CALL;
    if (is_traced())
        return NO_CALL;
    if (PyDict_Size(the_regions)) /* what is kept there is kept by them, too */
        return UNKNOWN_CALL;
    if (AT(calls, calls_by_place) == the_True) {
        int answer = call_by_place(calls, call, up, made, label);
        if (answer != OTHER_CALL)
            return answer;
    }
    spelled key = {.count = 0, .nodes = 0, .by_place = 0};
    object *tuple = spelled_call(&key, call);
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
        *made = results_again(phrase, PyTuple_GetItem(found, 1), together, key.operands, key.nodes, up);
        *label = kept(PyTuple_GetItem(found, 4));
        Py_DecRef(found);
        return SHOWING_CALL;
    }
    if (answer == 1) {
        *made = phrase_again(phrase, PyTuple_GetItem(found, 1), key.operands, key.nodes, up);
        *label = kept(PyTuple_GetItem(found, 4));
    }
    Py_DecRef(found);
    return answer || PyObject_SetAttr(calls, the_skips, the_True) ? KNOWN_CALL : NO_CALL;
}

/* A tensor of a Node, called after what made it if it is tracked; both are taken. */
static object *labelled(object *node, object *label) {
    int tracked = node && label && label != the_None && AT(node, node_requires_grad) == the_True;
    object *result = wrapped(node);
    if (result && tracked && PyObject_SetAttr(result, the_label, label)) {
        Py_DecRef(result);
        result = NULL;
    }
    Py_DecRef(label);
    return result;
}

/* Whether a tensor, or one of a tuple of them, has a history. */
static int is_any_tracked(object *result) {
    if (is_among(AT(result, class), the_plain))
        return AT(AT(result, tensor__node), node_requires_grad) == the_True;
    ptrdiff_t count = PyTuple_Size(result);
    for (ptrdiff_t k = 0; k < count; k++)
        if (is_any_tracked(PyTuple_GetItem(result, k)))
            return 1;
    return 0;
}

/* One or several results, called after what made them where they are tracked (`known_calls.mark`); both are taken. */
static object *all_labelled(object *results, object *label) {
    int is_needed = results && label && label != the_None && is_any_tracked(results);
    object *given[2] = {results, label}, *answer = is_needed ? PyObject_Vectorcall(the_mark, given, 2, NULL) : NULL;
    Py_DecRef(answer), Py_DecRef(label);
    if (!PyErr_Occurred())
        return results;
    Py_DecRef(results);
    return NULL;
}

/* What is given in a tuple and a dictionary; 0: that is too much. */
static int unpacked(object *args, object *options, object **room, arguments *call) {
    ptrdiff_t count = PyTuple_Size(args);
    if (count > MOST_PARTS)
        return 0;
    for (ptrdiff_t k = 0; k < count; k++)
        room[k] = PyTuple_GetItem(args, k);
    *call = (arguments){room, count, NULL, options};
    return 1;
}

/* KnownCalls.again(args, options). */
static object *again(object *calls, object *const *given, ptrdiff_t count) {
    object *made, *label, *room[MOST_PARTS];
    arguments call;
    int known = count == 2 && unpacked(given[0], given[1], room, &call) ? call_again(calls, &call, 1, &made, &label) : UNKNOWN_CALL;
    if (known == DRAWING_CALL)
        return made_by(made);
    if (known == SHOWING_CALL)
        return all_labelled(made, label);
    return known == NO_CALL ? nothing() : known == KNOWN_CALL ? labelled(made, label) : in_full(the_again, calls, given, count);
}

/* The Node of a call's result, as `KnownCalls.made_node` gives it; UNKNOWN_CALL: Python has to look. */
static int node_again(object *calls, const arguments *call, long up, object **node) {
    object *label;
    int known = PyDict_Size(calls) ? call_again(calls, call, up, node, &label) : UNKNOWN_CALL;
    if (known == UNKNOWN_CALL || known == NO_CALL)
        return UNKNOWN_CALL;
    object *made = *node;
    if (known == KNOWN_CALL) {
        Py_DecRef(label);
        return KNOWN_CALL;
    }
    if (known == SHOWING_CALL) {
        Py_DecRef(label), Py_DecRef(made);
        return made ? UNKNOWN_CALL : KNOWN_CALL;
    }
    *node = AT(made, class) == the_anew ? node_anew(made) : NULL;
    known = AT(made, class) == the_anew ? KNOWN_CALL : UNKNOWN_CALL;
    Py_DecRef(made);
    return known;
}

/* KnownCalls.made_node(args, options). */
static object *made_node(object *calls, object *const *given, ptrdiff_t count) {
    object *node, *room[MOST_PARTS];
    arguments call;
    int known = count == 2 && unpacked(given[0], given[1], room, &call) ? node_again(calls, &call, 1, &node) : UNKNOWN_CALL;
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
