/* Memory without Python's help: views of it are read, parts of it are written (views.py, assignment.py, indexing.py), where nothing has a history and
   numpy does not see it. */

#include "phrases.h"

extern object *PyObject_GetAttrString(object *, const char *);
extern object *PyObject_GetItem(object *, object *);
extern object *PyDict_New(void);
extern object *PyDict_GetItemWithError(object *, object *);
extern int PyDict_SetItem(object *, object *, object *);
extern ptrdiff_t PyDict_Size(object *);
extern int PyDict_Next(object *, ptrdiff_t *, object **, object **);
extern int PyObject_SetAttr(object *, object *, object *);

#define OBJECTS_OF_MEMORY(F) \
    F(plain) F(tuple) F(int) F(float) F(bool) F(array) F(reshape) F(slice) F(permute) F(alias) F(phrases_of_reads) F(phrases_of_writes) F(selections) F(rows) \
    F(read_part) F(write_part) F(replace) F(extended) F(put) F(filled) F(through) F(getitem) F(setitem) F(in_place) F(several) F(slice_class) F(parse) \
    F(LeafMark) F(Detached) F(detach) F(detached) F(copied)
OBJECTS_OF_MEMORY(DECLARE_OBJECT)

enum { MOST_READ = 256, MOST_LINKS = 16 };

static int is_equal(object *a, object *b) {
    return a == b || PyObject_RichCompareBool(a, b, EQUAL) == 1;
}

/* The method or function that Python has, of an object and what else it is given. */
static object *in_full(object *method, object *self, object *const *given, ptrdiff_t count) {
    enum { MOST = 8 };
    object *all[MOST + 1] = {self};
    for (ptrdiff_t k = 0; k < count && k < MOST; k++)
        all[k + 1] = given[k];
    return PyObject_Vectorcall(method, all, 1 + (size_t)(count < MOST ? count : MOST), NULL);
}

/* The same with all it was given, by names, too. */
static object *with_names(object *function, object *self, object *const *given, ptrdiff_t count, object *names) {
    enum { MOST = 16 };
    object *all[MOST + 1] = {self};
    ptrdiff_t more = names ? PyTuple_Size(names) : 0;
    for (ptrdiff_t k = 0; k < count + more && k < MOST; k++)
        all[k + 1] = given[k];
    return PyObject_Vectorcall(function, all, 1 + (size_t)count, names);
}

/* -- chains */

/* Whether links show a part of memory, or all of it in another order, and nothing that autograd knows. Names of ops are the ones Python has. */
static int is_plain(object *chain) {
    ptrdiff_t count = PyTuple_Size(chain);
    for (ptrdiff_t k = 0; k < count; k++) {
        object *link = PyTuple_GetItem(chain, k), *op = AT(link, class) == the_tuple ? PyTuple_GetItem(link, 0) : NULL;
        if (op != the_slice && op != the_reshape && op != the_permute)
            return 0;
    }
    return 1;
}

/* The shape at the end of a plain chain that is not empty, borrowed; NULL where its last link does not say it. */
static object *shape_through(object *chain) {
    object *link = PyTuple_GetItem(chain, PyTuple_Size(chain) - 1), *op = PyTuple_GetItem(link, 0), *attrs = PyTuple_GetItem(link, 1);
    return op == the_slice ? PyTuple_GetItem(attrs, 1) : op == the_reshape ? PyTuple_GetItem(attrs, 0) : NULL;
}

/* A chain and the links behind it (`links.extended`). NULL without an error: Python has to look. */
static object *extended(object *chain, object *const *links, ptrdiff_t count) {
    ptrdiff_t size = PyTuple_Size(chain);
    if (size + count > MOST_LINKS)
        return NULL;
    object *all[MOST_LINKS];
    for (ptrdiff_t k = 0; k < size; k++)
        all[k] = PyTuple_GetItem(chain, k);
    for (ptrdiff_t k = 0; k < count; k++) {
        object *link = links[k], *last = size ? all[size - 1] : NULL;
        if (AT(link, class) != the_tuple)
            return NULL;
        object *op = PyTuple_GetItem(link, 0);
        if (last && (AT(last, class) != the_tuple || PyTuple_GetItem(last, 0) == op)) {
            if (op != the_reshape)
                return NULL;
            size--;
        }
        all[size++] = link;
    }
    object *made = PyTuple_New(size);
    for (ptrdiff_t k = 0; made && k < size; k++)
        PyTuple_SetItem(made, k, kept(all[k]));
    return made;
}

/* -- reading */

static void count_up(object **number) {
    object *before = *number;
    *number = PyLong_FromLong(PyLong_AsLong(before) + 1);
    Py_DecRef(before);
}

/* Elements the host has, as a Node (`views._selected`). NULL without an error: Python has to look. */
static object *selected(object *source, object *chain) {
    object *array = AT(source, node_value), *shape = shape_through(chain);
    if (!shape || AT(array, class) != the_array || AT(the_state, state_noted) != the_None || AT(the_state, state_watch) != the_None)
        return NULL;
    object *indices = PyDict_GetItemWithError(the_selections, chain);
    if (!indices || indices == the_None)
        return NULL;
    Py_IncRef(array);
    for (ptrdiff_t k = 0; array && k < PyTuple_Size(indices); k++) {
        object *whole = array;
        array = PyObject_GetItem(whole, PyTuple_GetItem(indices, k));
        Py_DecRef(whole);
    }
    if (array && PyTuple_Size(shape)) {
        object *flags = PyObject_GetAttrString(array, "flags"), *answer = flags ? PyObject_GetAttrString(flags, "c_contiguous") : NULL;
        int is_row_major = answer == the_True;
        Py_DecRef(flags), Py_DecRef(answer);
        if (!is_row_major) {
            Py_DecRef(array);
            return NULL;
        }
    }
    object *type = array ? pair(shape, PyTuple_GetItem(AT(source, node_type), 1)) : NULL;
    object *node = type ? new_node(the_None, the_nothing, kept(the_nothing), type, kept(AT(source, node_origin)), 0, places(1)) : NULL;
    Py_DecRef(type);
    if (!node) {
        Py_DecRef(array);
        return NULL;
    }
    SET(node, node_value, array);
    SET(node, node_device, AT(source, node_device));
    Py_DecRef(array);
    count_up(&AT(the_state, state_asked)), count_up(&AT(the_state, state_shown));
    return node;
}

/* What is recorded where a chain is read of a Node that is to be computed. NULL without an error: Python has to look. */
static object *part_of(object *source, object *chain) {
    object *types = PyTuple_New(1), *key, *found;
    if (!types)
        return NULL;
    PyTuple_SetItem(types, 0, kept(AT(source, node_type)));
    key = pair(chain, types);
    found = key ? PyDict_GetItemWithError(the_phrases_of_reads, key) : NULL;
    Py_DecRef(types), Py_DecRef(key);
    return found ? phrase_again(found, NULL, &source, 1, 0) : NULL;
}

/* The value of a view now (`views.read`), of memory that numpy does not see. */
static object *read_part(object *storage, object *chain) {
    object *views = AT(storage, storage_views), *source = AT(storage, storage_node), *both[2] = {storage, chain};
    if (!PyTuple_Size(chain))
        return kept(source);
    object *node = views != the_None ? kept(PyDict_GetItemWithError(views, chain)) : NULL;
    if (node || PyErr_Occurred())
        return node;
    if (is_traced() || AT(source, node_requires_grad) != the_False || !is_plain(chain) || (views != the_None && PyDict_Size(views) >= MOST_READ))
        goto in_full;
    node = AT(source, node_value) != the_None ? selected(source, chain) : part_of(source, chain);
    if (!node)
        goto in_full;
    if (views == the_None) {
        if (!(views = PyDict_New())) {
            Py_DecRef(node);
            return NULL;
        }
        SET(storage, storage_views, views);
        Py_DecRef(views);
    }
    if (!PyDict_SetItem(views, chain, node))
        return node;
    Py_DecRef(node);
    return NULL;
in_full:
    return PyErr_Occurred() ? NULL : PyObject_Vectorcall(the_read_part, both, 2, NULL);
}

/* A tensor that sees memory through a chain, which is taken. */
static object *view_of(object *storage, object *chain) {
    object *node = chain ? read_part(storage, chain) : NULL, *tensor = node ? PyType_GenericAlloc(the_Tensor, 0) : NULL;
    if (!tensor) {
        Py_DecRef(chain), Py_DecRef(node);
        return NULL;
    }
    PUT(tensor, tensor__storage, storage), PUT(tensor, tensor__seen, AT(storage, storage_version));
    AT(tensor, tensor__chain) = chain, AT(tensor, tensor__node) = node;
    return tensor;
}

/* Whether a tensor is a view without a history of memory that is not numpy's. */
static int is_bare(object *tensor) {
    if (!is_among(AT(tensor, class), the_plain))
        return 0;
    object *storage = AT(tensor, tensor__storage), *node = AT(tensor, tensor__node);
    return storage && node && AT(storage, storage_host) == the_None && AT(AT(storage, storage_node), node_requires_grad) == the_False &&
           AT(node, node_requires_grad) == the_False && is_plain(AT(tensor, tensor__chain));
}

/* Tensor._through(*links) */
static object *through(object *tensor, object *const *links, ptrdiff_t count) {
    object *chain = is_bare(tensor) ? extended(AT(tensor, tensor__chain), links, count) : NULL;
    if (chain)
        return view_of(AT(tensor, tensor__storage), chain);
    return PyErr_Occurred() ? NULL : in_full(the_through, tensor, links, count);
}

/* Tensor.detach() and Tensor._detached(counted), of memory without a history (leaves.py). */
static object *detached(object *tensor, object *const *given, ptrdiff_t count) {
    object *storage = AT(tensor, tensor__storage), *chain = AT(tensor, tensor__chain), *links[MOST_LINKS + 1], *made = NULL;
    ptrdiff_t size = chain ? PyTuple_Size(chain) : MOST_LINKS + 1, own = 0;
    if (size > MOST_LINKS || count > 1 || !is_among(AT(tensor, class), the_plain) || AT(storage, storage_host) != the_None ||
        AT(AT(storage, storage_node), node_requires_grad) != the_False || is_traced())
        goto in_full;
    for (ptrdiff_t k = 0; k < size; k++) {
        object *link = PyTuple_GetItem(chain, k), *kind = AT(link, class);
        if (kind == the_tuple)
            links[own++] = link;
        else if (kind != the_LeafMark && (kind != the_Detached || AT(link, detached_counted) != the_True))
            goto in_full;
    }
    if (own > 1 && own < size)
        goto in_full; /* links that have come side by side become one */
    object *shown = PyTuple_New(own), *mark = PyType_GenericAlloc(the_Detached, 0), *node = NULL, *result = NULL;
    for (ptrdiff_t k = 0; shown && k < own; k++)
        PyTuple_SetItem(shown, k, kept(links[k]));
    if (shown && mark && is_plain(shown)) {
        PUT(mark, detached_counted, count ? given[0] : the_True), PUT(mark, detached_node, the_None);
        if ((made = PyTuple_New(own + 1))) {
            for (ptrdiff_t k = 0; k < own; k++)
                PyTuple_SetItem(made, k, kept(links[k]));
            PyTuple_SetItem(made, own, kept(mark));
            node = read_part(storage, shown), result = node ? PyType_GenericAlloc(the_Tensor, 0) : NULL;
        }
    }
    Py_DecRef(shown), Py_DecRef(mark);
    if (result) {
        PUT(result, tensor__storage, storage), PUT(result, tensor__seen, AT(storage, storage_version));
        AT(result, tensor__chain) = made, AT(result, tensor__node) = node;
        return result;
    }
    Py_DecRef(made), Py_DecRef(node);
in_full:
    return PyErr_Occurred() ? NULL : in_full(count ? the_detached : the_detach, tensor, given, count);
}

/* The chain of ``x[index]`` for a number, and what it shows of the memory; NULL without an error: Python has to look. */
static object *chain_of_row(object *tensor, object *index) {
    if (AT(index, class) != the_int || !is_bare(tensor))
        return NULL;
    object *key = pair(PyTuple_GetItem(AT(AT(tensor, tensor__node), node_type), 0), index);
    object *links = key ? PyDict_GetItemWithError(the_rows, key) : NULL, *both[2];
    Py_DecRef(key);
    ptrdiff_t count = links ? PyTuple_Size(links) : 3;
    if (count > 2)
        return NULL;
    for (ptrdiff_t k = 0; k < count; k++)
        both[k] = PyTuple_GetItem(links, k);
    return extended(AT(tensor, tensor__chain), both, count);
}

/* Tensor.__getitem__(index) */
static object *getitem(object *tensor, object *index) {
    object *chain = chain_of_row(tensor, index);
    if (chain)
        return view_of(AT(tensor, tensor__storage), chain);
    return PyErr_Occurred() ? NULL : in_full(the_getitem, tensor, &index, 1);
}

/* -- writing */

/* Whether a bare tensor may be written to and nobody is told of it. */
static int is_writable(object *tensor) {
    object *storage = AT(tensor, tensor__storage);
    return AT(storage, storage_inference) == the_False && !is_traced() && !PyList_Size(AT(the_state, state_watchers));
}

/* New contents of memory (`Storage.replace`). start: the position in the recording up to which what was read counts as overwritten. */
static int replace(object *storage, object *node, object *start) {
    object *old = AT(storage, storage_node), *views = AT(storage, storage_views), *given[3] = {storage, node, start};
    if (AT(storage, storage_unheard) != the_None || AT(storage, storage_last) != the_None) {
        object *answer = PyObject_Vectorcall(the_replace, given, 3, NULL);
        Py_DecRef(answer);
        return answer ? 0 : -1;
    }
    object *after = PyLong_FromLong(PyLong_AsLong(start) + 1), *version = PyLong_FromLong(PyLong_AsLong(AT(storage, storage_version)) + 1);
    if (!after || !version) {
        Py_DecRef(after), Py_DecRef(version);
        return -1;
    }
    SET(old, node_overwritten, after);
    if (views != the_None) {
        ptrdiff_t at = 0;
        object *chain, *view;
        while (PyDict_Next(views, &at, &chain, &view))
            SET(view, node_overwritten, after);
        SET(storage, storage_views, the_None);
    }
    SET(storage, storage_version, version);
    SET(storage, storage_node, node);
    Py_DecRef(after), Py_DecRef(version);
    return wait_for(storage, node);
}

/* A value without a history as that of a view (`views.write`), of bare memory. */
static int write_part(object *storage, object *chain, object *node, object *start) {
    if (!PyTuple_Size(chain))
        return replace(storage, node, start);
    object *operands[2] = {AT(storage, storage_node), node}, *types = pair(AT(operands[0], node_type), AT(node, node_type));
    object *key = types ? pair(chain, types) : NULL, *found = key ? PyDict_GetItemWithError(the_phrases_of_writes, key) : NULL;
    Py_DecRef(types), Py_DecRef(key);
    if (!found) {
        object *given[4] = {storage, chain, node, start}, *answer = PyErr_Occurred() ? NULL : PyObject_Vectorcall(the_write_part, given, 4, NULL);
        Py_DecRef(answer);
        return answer ? 0 : -1;
    }
    object *whole = phrase_again(found, NULL, operands, 2, 0);
    int failed = !whole || replace(storage, whole, start);
    Py_DecRef(whole);
    return failed ? -1 : 0;
}

/* Whether an operand of an in-place operation has nothing to do with the memory that is written. */
static int is_elsewhere(object *value, object *storage) {
    object *kind = AT(value, class);
    if (is_among(kind, the_plain))
        return AT(value, tensor__storage) != storage;
    return kind == the_int || kind == the_float || kind == the_bool || value == the_None;
}

/* Makes a Node, which is taken, what a tensor holds that is to be written to, as far as it was recorded after `start`, which is taken, too; called after
   `label`, if it is tracked then. Gives the tensor. */
static object *written(object *tensor, object *node, object *start, object *label) {
    int failed = !node;
    if (node && is_bare(tensor) && AT(node, node_requires_grad) == the_False && is_equal(AT(node, node_type), AT(AT(tensor, tensor__node), node_type)) &&
        PyLong_AsLong(AT(node, node_order)) > PyLong_AsLong(start))
        failed = write_part(AT(tensor, tensor__storage), AT(tensor, tensor__chain), node, start);
    else if (node) {
        object *told[4] = {tensor, node, start, label}, *answer = PyObject_Vectorcall(the_put, told, 4, NULL);
        Py_DecRef(answer);
        failed = !answer;
    }
    Py_DecRef(node), Py_DecRef(start);
    return failed ? NULL : kept(tensor);
}

/* in_place(tensor, made_node, args, options, number, label): see assignment.py. */
static object *in_place(object *self, object *const *given, ptrdiff_t count) {
    (void)self;
    object *tensor = given[0], *args = count == 6 ? given[2] : NULL;
    if (!args || AT(args, class) != the_tuple || !is_bare(tensor) || !is_writable(tensor))
        return PyObject_Vectorcall(the_in_place, given, (size_t)count, NULL);
    object *storage = AT(tensor, tensor__storage);
    ptrdiff_t more = PyTuple_Size(args);
    object *all = PyTuple_New(more + 1);
    if (!all)
        return NULL;
    PyTuple_SetItem(all, 0, kept(tensor));
    for (ptrdiff_t k = 0; k < more; k++) {
        object *value = PyTuple_GetItem(args, k);
        if (!is_elsewhere(value, storage)) {
            Py_DecRef(all);
            return PyObject_Vectorcall(the_in_place, given, (size_t)count, NULL);
        }
        PyTuple_SetItem(all, k + 1, kept(value));
    }
    object *start = kept(AT(the_state, state_order)), *operands[2] = {all, given[3]}, *node = PyObject_Vectorcall(given[1], operands, 2, NULL);
    Py_DecRef(all);
    return written(tensor, node, start, given[5]);
}

/* Another Node of the value that a tensor holds, which has nothing to do with the memory that is written; NULL without an error: it has another type, or
   Python has to look. */
static object *same_value(object *value, object *storage, object *shape, object *dtype) {
    object *source = is_among(AT(value, class), the_plain) && is_elsewhere(value, storage) ? node_of(value) : NULL;
    if (!source || AT(source, node_requires_grad) != the_False)
        return NULL;
    object *type = AT(source, node_type);
    if (PyTuple_GetItem(type, 1) != dtype || !is_equal(PyTuple_GetItem(type, 0), shape))
        return NULL;
    object *inputs = PyTuple_New(1);
    if (!inputs)
        return NULL;
    PyTuple_SetItem(inputs, 0, kept(source));
    object *node = new_node(the_alias, the_nothing, inputs, type, kept(AT(source, node_origin)), 0, places(1));
    if (node)
        SET(node, node_value, AT(source, node_value));
    return node;
}

/* Tensor.copy_(src), of a value of the same type. */
static object *copied(object *tensor, object *const *given, ptrdiff_t count, object *names) {
    if (!names && count == 1 && is_bare(tensor) && is_writable(tensor)) {
        object *storage = AT(tensor, tensor__storage), *type = AT(AT(tensor, tensor__node), node_type), *start = kept(AT(the_state, state_order));
        object *node = same_value(given[0], storage, PyTuple_GetItem(type, 0), PyTuple_GetItem(type, 1));
        int failed = node && write_part(storage, AT(tensor, tensor__chain), node, start);
        Py_DecRef(start);
        if (node) {
            Py_DecRef(node);
            return failed ? NULL : kept(tensor);
        }
    }
    return PyErr_Occurred() ? NULL : with_names(the_copied, tensor, given, count, names);
}

/* A value to be written into a part of memory, as a Node recorded since ``start``; NULL without an error: Python has to look. */
static object *part_to_write(object *tensor, object *chain, object *value) {
    object *kind = AT(value, class), *shape = shape_through(chain), *dtype = PyTuple_GetItem(AT(AT(tensor, tensor__node), node_type), 1);
    if (!shape)
        return NULL;
    if (kind == the_int || kind == the_float || kind == the_bool) {
        object *given[3] = {value, shape, dtype};
        return PyObject_Vectorcall(the_filled, given, 3, NULL);
    }
    return same_value(value, AT(tensor, tensor__storage), shape, dtype);
}

/* The chain of ``x[index]`` for what is no number, but numbers and slices; NULL without an error: Python has to look. */
static object *chain_of_part(object *tensor, object *index) {
    object *kind = AT(index, class), *links[2];
    if ((kind != the_tuple && kind != the_slice_class) || !is_bare(tensor))
        return NULL;
    ptrdiff_t size = kind == the_tuple ? PyTuple_Size(index) : 0;
    for (ptrdiff_t k = 0; k < size; k++) {
        object *item = AT(PyTuple_GetItem(index, k), class);
        if (item != the_int && item != the_slice_class)
            return NULL;
    }
    object *given[2] = {PyTuple_GetItem(AT(AT(tensor, tensor__node), node_type), 0), index}, *plan = PyObject_Vectorcall(the_parse, given, 2, NULL);
    object *own = plan ? PyObject_GetAttrString(plan, "links") : NULL, *chain = NULL;
    ptrdiff_t count = own ? PyTuple_Size(own) : 0;
    if (count && count <= 2) {
        for (ptrdiff_t k = 0; k < count; k++)
            links[k] = PyTuple_GetItem(own, k);
        chain = extended(AT(tensor, tensor__chain), links, count);
    }
    Py_DecRef(plan), Py_DecRef(own);
    return chain;
}

/* Tensor.__setitem__(index, value) */
static object *setitem(object *tensor, object *const *given, ptrdiff_t count) {
    object *chain = count == 2 ? chain_of_row(tensor, given[0]) : NULL, *value, *storage, *node = NULL;
    if (!chain && count == 2 && !PyErr_Occurred())
        chain = chain_of_part(tensor, given[0]);
    if (!chain || !is_writable(tensor))
        goto in_full;
    value = given[1], storage = AT(tensor, tensor__storage);
    if (is_among(AT(value, class), the_plain) && AT(value, tensor__storage) == storage) { /* how ``x[i] += y`` ends */
        if (!same_number(AT(AT(storage, storage_node), node_order), AT(the_state, state_order)) || !is_equal(AT(value, tensor__chain), chain))
            goto in_full;
        Py_DecRef(chain);
        return nothing();
    }
    object *start = kept(AT(the_state, state_order));
    if ((node = part_to_write(tensor, chain, value))) {
        int failed = write_part(storage, chain, node, start);
        Py_DecRef(node), Py_DecRef(start), Py_DecRef(chain);
        return failed ? NULL : nothing();
    }
    Py_DecRef(start);
in_full:
    Py_DecRef(chain);
    return PyErr_Occurred() ? NULL : in_full(the_setitem, tensor, given, count);
}
