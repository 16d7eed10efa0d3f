/* Public functions, called without Python's help where their calls are known (known_calls.py, definitions.py): the functions stay what they are, and what
   calls them ends up here first. Interpreters that have no such entrance (before 3.12) run their Python. */

#include "known_calls.h"

extern void PyFunction_SetVectorcall(object *function, object *(*)(object *, object *const *, size_t, object *)) __attribute__((weak));

#define OBJECTS_OF_PUBLICS(F) F(follow) F(modes)
OBJECTS_OF_PUBLICS(DECLARE_OBJECT)

/* in_full: the function's Python, as one of its own; at_length: what that does with a call that is not known; label: what tracked results are called after
   (None: what was said of the call), follows: whether results lie in memory as the operands do, writes: whether they are written to the first of them. */
typedef struct {
    object *function, *in_full, *at_length, *calls, *label;
    int follows, writes;
} public_function;

enum { PUBLICS = 1 << 12 };
static const size_t IS_METHOD = (size_t)1 << (8 * sizeof(size_t) - 1); /* of a count of arguments: a place before them is free */
static public_function publics[PUBLICS];
static int are_awake, all_publics;

static public_function *public_of(object *function) {
    size_t at = (size_t)((uint64_t)(uintptr_t)function * 0x9E3779B97F4A7C15u >> 40) % PUBLICS;
    while (publics[at].function && publics[at].function != function)
        at = (at + 1) % PUBLICS;
    return &publics[at];
}

/* A result in the memory order of the operands; the result is taken. */
static object *followed(object *result, object *const *given, ptrdiff_t count) {
    int is_needed = 0;
    for (ptrdiff_t k = 0; k < count && !is_needed; k++)
        is_needed = is_among(AT(given[k], class), the_plain) && PyTuple_Size(AT(given[k], tensor__chain)) && is_ordered(given[k]);
    if (!is_needed)
        return result;
    object *operands = PyTuple_New(count);
    for (ptrdiff_t k = 0; operands && k < count; k++)
        PyTuple_SetItem(operands, k, kept(given[k]));
    object *both[2] = {result, operands}, *answer = operands ? PyObject_Vectorcall(the_follow, both, 2, NULL) : NULL;
    Py_DecRef(operands), Py_DecRef(answer);
    if (answer)
        return result;
    Py_DecRef(result);
    return NULL;
}

/* ``tensor.f_(…)`` (`definitions.as_in_place`); NULL without an error: Python has to look. */
static object *write_again(const public_function *own, const arguments *call) {
    object *tensor = call->given[0], *node;
    if (!is_among(AT(tensor, class), the_plain) || !is_bare(tensor) || !is_writable(tensor))
        return NULL;
    for (ptrdiff_t k = 1; k < call->count; k++)
        if (!is_elsewhere(call->given[k], AT(tensor, tensor__storage)))
            return NULL;
    object *start = kept(AT(the_state, state_order));
    if (node_again(own->calls, call, 0, &node) == KNOWN_CALL)
        return written(tensor, node, start, own->label);
    Py_DecRef(start);
    return NULL;
}

/* What the interpreter runs when a public function is called. */
static object *public_call(object *function, object *const *given, size_t flags, object *names) {
    const public_function *own = public_of(function);
    arguments call = {given, (ptrdiff_t)(flags & ~IS_METHOD), names, NULL};
    object *result, *label;
    if (!are_awake || !PyDict_Size(own->calls) || PyList_Size(the_modes))
        goto in_full;
    if (own->writes) {
        result = call.count ? write_again(own, &call) : NULL;
        if (result || PyErr_Occurred())
            return result;
        goto in_full;
    }
    switch (call_again(own->calls, &call, 0, &result, &label)) {
    case DRAWING_CALL:
        return made_by(result);
    case NO_CALL:
        return PyObject_Vectorcall(own->at_length, given, flags, names);
    case UNKNOWN_CALL:
        goto in_full;
    case SHOWING_CALL:
        if (own->label != the_None)
            Py_DecRef(label), label = kept(own->label);
        return all_labelled(result, label);
    default:
        if (own->label != the_None)
            Py_DecRef(label), label = kept(own->label);
        result = labelled(result, label);
        return result && own->follows ? followed(result, given, call.count) : result;
    }
in_full:
    return PyErr_Occurred() ? NULL : PyObject_Vectorcall(own->in_full, given, flags, names);
}

/* Has calls of a function made here; False where that cannot be. Everything given is kept. */
object *lamina_public(object *function, object *in_full, object *at_length, object *calls, object *label, int follows, int writes) {
    if (!PyFunction_SetVectorcall || all_publics >= PUBLICS / 2)
        return kept(the_False);
    public_function *own = public_of(function);
    if (!own->function) {
        *own = (public_function){kept(function), kept(in_full), kept(at_length), kept(calls), kept(label), follows, writes};
        all_publics++;
        PyFunction_SetVectorcall(function, public_call);
    }
    return kept(the_True);
}

/* Whether calls of public functions are made here from now on. */
void lamina_publics(int awake) {
    are_awake = awake;
}
