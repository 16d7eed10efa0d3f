/* What the libraries for Python call of the interpreter: exported by every CPython from 3.11 on, so that none of its headers is needed. */

#include <stddef.h>

typedef struct object object;
typedef struct {
    const char *name;
    object *(*function)(object *, object *const *, ptrdiff_t);
    int flags;
    const char *doc;
} method;

extern object *PyObject_Vectorcall(object *function, object *const *arguments, size_t count, object *names);
extern object *PyCFunction_NewEx(method *, object *self, object *module);
extern object *PyLong_FromLong(long);
extern long PyLong_AsLong(object *);
extern object *PyErr_Occurred(void);
extern object *Py_BuildValue(const char *, ...);
extern void Py_IncRef(object *);
extern void Py_DecRef(object *);
extern object *PyTuple_GetItem(object *, ptrdiff_t);
extern ptrdiff_t PyTuple_Size(object *);
extern object *PyList_GetItem(object *, ptrdiff_t);
extern ptrdiff_t PyList_Size(object *);
extern object *PyList_New(ptrdiff_t);
extern int PyList_SetItem(object *, ptrdiff_t, object *);
extern const char *PyUnicode_AsUTF8(object *);

enum { FASTCALL = 0x0080 };
