// Whether what Python has handed over is still what it was: asked before every step.

#include "memory.h"

extern "C" {
int size_of_place() { return sizeof(Place); }
void remember_places(void* const* tensors, int count, Place* places) {
  for (int i = 0; i < count; ++i) places[i] = place_of(tensors[i]);
}
int can_watch() {
  return PyObject_GetAttr && PyObject_CallMethodObjArgs && PyDict_GetItemWithError && PyList_GetItem &&
         PyEval_SaveThread && PyEval_RestoreThread;
}
// Called with the GIL held.
int has_changed(const Expectation* expectations, int count, const Place* places, int tensors) {
  return !is_as_expected(expectations, count, places, tensors);
}
}
