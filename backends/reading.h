/* Numbers that are looked at, without Python's help: the way of a flush whose program is known (`recorder.flush`), and what a tensor of one element is.

   Python functions stay the objects they are, and what calls them ends up here first; where there is more to do they run. Part of stepping.c. */

extern void PyFunction_SetVectorcall(object *function, object *(*)(object *, object *const *, size_t, object *)) __attribute__((weak));
extern object *PyErr_GetRaisedException(void) __attribute__((weak));
extern object *PyObject_CallMethod(object *, const char *, const char *, ...);
extern object *PyObject_GetAttrString(object *, const char *);
extern object *PyNumber_Float(object *);
extern object *PyNumber_Long(object *);
extern int PyObject_IsTrue(object *);
extern int PyList_SetSlice(object *, ptrdiff_t, ptrdiff_t, object *);

enum { FLUSH, ITEM, TRUTH, FLOATING, WHOLE, READERS };
static const size_t BEFORE_IS_FREE = (size_t)1 << (8 * sizeof(size_t) - 1); /* of a count of arguments: a place before them is free */
static object *python_of[READERS]; /* the Python of each, as a function of its own */
static int is_reading;

/* Whether somebody wants more of a flush than values. */
static int is_watched(void) {
    object *state = the_state, *shown;
    if (is_traced() || PyList_Size(AT(state, state_suspected)) || PyList_Size(AT(state, state_arrived)) || PyList_Size(AT(state, state_escaped)) ||
        PyList_Size(AT(state, state_doubts)) || AT(state, state_witness) != the_None || AT(state, state_run) == the_None)
        return 1;
    shown = PyObject_GetAttrString(the_show, "value");
    int is_shown = !shown || PyObject_Size(shown);
    Py_DecRef(shown);
    return is_shown;
}

/* Nodes that live memory lacks, and those that are wanted; NULL without an error: Python has to look. */
static object *roots_of(object *const *wanted, ptrdiff_t count) {
    object *pending = AT(the_state, state_pending), *roots = PyList_New(0);
    int is_whole = roots != NULL;
    for (ptrdiff_t k = 0; is_whole && k < PyList_Size(pending); k++) {
        object *cell = PyObject_CallNoArgs(PyList_GetItem(pending, k)), *node;
        is_whole = cell && (cell == the_None || AT(cell, class) == the_Storage);
        if (is_whole && cell != the_None && (node = AT(cell, storage_node)) != the_None && AT(node, node_value) == the_None)
            is_whole = !PyList_Append(roots, node);
        Py_DecRef(cell);
    }
    for (ptrdiff_t k = 0; is_whole && k < count; k++)
        if (AT(wanted[k], node_value) == the_None)
            is_whole = !PyList_Append(roots, wanted[k]);
    if (is_whole && PyList_Size(roots))
        return roots;
    Py_DecRef(roots);
    return NULL;
}

/* The plan that was right last where such roots begin, borrowed, and what its track says of these: nodes and contents. */
static object *plan_of(object *roots, object **met) {
    ptrdiff_t count = PyList_Size(roots);
    object *first = PyList_GetItem(roots, count - 1), *place = Py_BuildValue("(nOO)", count, AT(first, node_op), AT(first, node_origin));
    object *near = place ? PyDict_GetItemWithError(the_tracks, place) : NULL, *plan = near && PyList_Size(near) ? PyList_GetItem(near, 0) : NULL;
    Py_DecRef(place);
    *met = plan ? PyObject_Vectorcall(AT(plan, plan_track), &roots, 1, NULL) : NULL;
    if (*met == the_None) {
        Py_DecRef(*met);
        *met = NULL;
    }
    return *met ? plan : NULL;
}

/* `recorder.flush`: 1: it is done; 0: Python has to; -1: an error. */
static int flush(object *const *wanted, ptrdiff_t count) {
    if (is_watched())
        return PyErr_Occurred() ? -1 : 0;
    object *roots = roots_of(wanted, count), *met = NULL, *plan = roots ? plan_of(roots, &met) : NULL, *last = plan ? AT(plan, plan_last) : NULL;
    int is_known = last && PyObject_RichCompareBool(PyTuple_GetItem(met, 1), PyTuple_GetItem(last, 0), EQUAL) == 1;
    object *pending = AT(the_state, state_pending), *order = AT(the_state, state_order), *bound = NULL, *answer = NULL;
    if (is_known && (bound = PyLong_FromLong(PyLong_AsLong(order) + PyLong_AsLong(the_limit))) && !PyList_SetSlice(pending, 0, PyList_Size(pending), NULL)) {
        SET(the_state, state_flushed, order);
        SET(the_state, state_bound, bound);
        Py_IncRef(plan);
        object *given[3] = {PyTuple_GetItem(met, 0), kept(PyTuple_GetItem(last, 1)), AT(the_state, state_run)};
        answer = run(plan, given, 3);
        Py_DecRef(given[1]), Py_DecRef(plan);
        if (!answer) { /* for want of memory, maybe */
            object *error = PyErr_GetRaisedException();
            Py_DecRef(PyObject_Vectorcall(the_failed, &error, 1, NULL));
            Py_DecRef(error);
        }
    }
    Py_DecRef(bound), Py_DecRef(met), Py_DecRef(roots), Py_DecRef(answer);
    return answer ? 1 : PyErr_Occurred() ? -1 : 0;
}

static object *flush_call(object *function, object *const *given, size_t flags, object *names) {
    (void)function;
    ptrdiff_t count = (ptrdiff_t)(flags & ~BEFORE_IS_FREE), own = count == 1 && AT(given[0], class) == AT(the_nothing, class) ? PyTuple_Size(given[0]) : 0;
    if (is_reading && !names && (!count || own == 1)) {
        object *wanted = own ? PyTuple_GetItem(given[0], 0) : NULL;
        int done = flush(&wanted, own);
        if (done)
            return done < 0 ? NULL : nothing();
    }
    return PyObject_Vectorcall(python_of[FLUSH], given, flags, names);
}

/* The number a tensor of one element is (`Tensor.item`); NULL without an error: Python has to look. */
static object *item(object *tensor) {
    object *storage = is_among(AT(tensor, class), the_plain) ? AT(tensor, tensor__storage) : NULL;
    if (!storage || AT(storage, storage_host) != the_None || AT(the_state, state_watch) != the_None)
        return NULL;
    int is_view = PyTuple_Size(AT(tensor, tensor__chain)) > 0;
    object *node = is_view ? node_of(tensor) : AT(storage, storage_node), *value;
    if (!node || (is_view && AT(node, node_value) == the_None)) /* a view is computed with its memory, and read there */
        return NULL;
    object *shape = PyTuple_GetItem(AT(node, node_type), 0);
    for (ptrdiff_t d = 0; d < PyTuple_Size(shape); d++)
        if (PyLong_AsLong(PyTuple_GetItem(shape, d)) != 1)
            return NULL;
    if (AT(node, node_value) == the_None && flush(&node, 1) != 1)
        return NULL;
    value = AT(node, node_value);
    if (AT(value, class) != the_array)
        return NULL;
    object *before = AT(the_state, state_asked), *after = PyLong_FromLong(PyLong_AsLong(before) + 1);
    AT(the_state, state_asked) = after;
    Py_DecRef(before);
    return after ? PyObject_CallMethod(value, "item", NULL) : NULL;
}

/* A number as what is asked for; it is taken. */
static object *as(int kind, object *number) {
    object *own = AT(number, class), *result = NULL;
    if (kind == ITEM || (kind == FLOATING && own == the_float) || (kind == WHOLE && own == the_int))
        return number;
    if (kind == TRUTH) {
        int answer = PyObject_IsTrue(number);
        result = answer < 0 ? NULL : kept(answer ? the_True : the_False);
    } else if (own == the_float || own == the_int || own == the_bool)
        result = kind == FLOATING ? PyNumber_Float(number) : PyNumber_Long(number);
    Py_DecRef(number);
    return result;
}

static object *read_call(int kind, object *const *given, size_t flags, object *names) {
    if (is_reading && !names && (ptrdiff_t)(flags & ~BEFORE_IS_FREE) == 1 && !PyList_Size(AT(the_state, state_levels))) {
        object *number = item(given[0]), *result = number ? as(kind, number) : NULL;
        if (result || PyErr_Occurred())
            return result;
    }
    return PyObject_Vectorcall(python_of[kind], given, flags, names);
}

#define READER(name, kind) \
    static object *name(object *function, object *const *given, size_t flags, object *names) { \
        (void)function; \
        return read_call(kind, given, flags, names); \
    }
READER(item_call, ITEM)
READER(truth_call, TRUTH)
READER(float_call, FLOATING)
READER(int_call, WHOLE)

/* Has calls of functions made here from now on, in the order of the enumeration. copies: their Python, as functions of their own. False where that cannot
   be. Everything given is kept. */
object *lamina_reading(object *functions, object *copies) {
    static object *(*const entrances[])(object *, object *const *, size_t, object *) = {flush_call, item_call, truth_call, float_call, int_call};
    if (!PyFunction_SetVectorcall || !PyErr_GetRaisedException)
        return kept(the_False);
    for (int k = 0; k < READERS; k++)
        if (!python_of[k]) {
            python_of[k] = kept(PyTuple_GetItem(copies, k));
            PyFunction_SetVectorcall(kept(PyTuple_GetItem(functions, k)), entrances[k]);
        }
    return kept(the_True);
}

/* Whether they are. */
void lamina_reads(int awake) {
    is_reading = awake;
}
