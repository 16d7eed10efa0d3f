/* The user's line that is running: which frames are the package's and what Python said of places in the others. */

extern object *PyEval_GetFrame(void);
extern object *PyFrame_GetBack(object *frame);
extern object *PyFrame_GetCode(object *frame);
extern int PyFrame_GetLasti(object *frame);

enum { OWN = -2, SLOTS = 1 << 14, DEEPEST = 16 };

/* Code of the package and places of the user's code are in one table, with what Python said of them; where it says nothing, Python is asked. */

typedef struct {
    object *code;
    object *text;
    long offset; /* OWN: all of the code is the package's */
} place;

static place table[SLOTS];
static int filled;
static object *get_frame, *ask, *depths[DEEPEST];

static place *slot_of(object *code, long offset) {
    uint64_t mixed = ((uint64_t)(uintptr_t)code >> 4) * 0x9E3779B97F4A7C15u + (uint64_t)(offset + 3) * 0xC2B2AE3D27D4EB4Fu;
    size_t at = (size_t)(mixed ^ mixed >> 29) % SLOTS;
    while (table[at].code && (table[at].code != code || table[at].offset != offset))
        at = (at + 1) % SLOTS;
    return &table[at];
}

/* A program that makes code without end: what is known is learnt again. */
static void forget(void) {
    for (place *slot = table; slot < table + SLOTS; slot++)
        if (slot->code) {
            Py_DecRef(slot->code);
            Py_DecRef(slot->text);
            slot->code = slot->text = NULL;
        }
    filled = 0;
}

/* learn(code, offset, text): what is said of a place from now on. Codes are kept, so that no other one gets their address. */
static object *learn(object *self, object *const *given, ptrdiff_t count) {
    (void)self;
    if (count == 3) {
        if (filled >= SLOTS / 2)
            forget();
        long offset = PyLong_AsLong(given[1]);
        if (offset == -1 && PyErr_Occurred())
            return NULL;
        place *slot = slot_of(given[0], offset);
        if (!slot->code) {
            Py_IncRef(given[0]);
            Py_IncRef(given[2]);
            slot->code = given[0], slot->text = given[2], slot->offset = offset;
            filled++;
        }
    }
    return nothing();
}

/* The line's text, from a frame on, which is let go of. */
static object *line_of(object *frame) {
    for (;;) {
        object *code = PyFrame_GetCode(frame);
        Py_DecRef(code); /* the frame has it */
        if (slot_of(code, OWN)->code) {
            object *back = PyFrame_GetBack(frame);
            if (back) {
                Py_DecRef(frame);
                frame = back;
                continue;
            }
        } else {
            object *text = slot_of(code, PyFrame_GetLasti(frame))->text;
            if (text) {
                Py_IncRef(text);
                Py_DecRef(frame);
                return text;
            }
        }
        object *text = PyObject_Vectorcall(ask, &frame, 1, NULL);
        Py_DecRef(frame);
        return text;
    }
}

/* The same. up: how many frames above the running one it is at least. */
static object *line(long up) {
    object *frame = up ? PyObject_Vectorcall(get_frame, &depths[up], 1, NULL) : PyEval_GetFrame();
    if (!up)
        Py_IncRef(frame);
    return frame ? line_of(frame) : NULL;
}

/* origin(up): the line's text. up: 1 for the function that asks, as Python counts for a function that it calls. */
static object *origin(object *self, object *const *given, ptrdiff_t count) {
    (void)self;
    long up = count ? PyLong_AsLong(given[0]) : 1;
    return line(up < 1 || up > DEEPEST ? 0 : up - 1);
}

static method line_methods[] = {{"origin", origin, FASTCALL, NULL}, {"learn", learn, FASTCALL, NULL}};

/* Both functions. getter: sys._getframe. asked: gives the line of a frame, and learns. */
object *lamina_lines(object *getter, object *asked) {
    for (int k = 0; k < DEEPEST; k++)
        if (!depths[k] && !(depths[k] = PyLong_FromLong(k)))
            return NULL;
    Py_IncRef(getter);
    Py_IncRef(asked);
    get_frame = getter, ask = asked;
    object *first = PyCFunction_NewEx(&line_methods[0], NULL, NULL);
    object *second = first ? PyCFunction_NewEx(&line_methods[1], NULL, NULL) : NULL;
    return second ? Py_BuildValue("(NN)", first, second) : NULL;
}
