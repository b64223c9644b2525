/* Streams, events and capture. Work runs when it is given to a stream, so a stream holds nothing but its capture; what
 * is captured keeps the order in which the host gave it, which respects every dependence between streams. */
#include "driver.h"

#include <stdlib.h>
#include <time.h>

enum { EVENT_DISABLE_TIMING = 2, CAPTURE_NONE = 0, CAPTURE_ACTIVE = 1 };

/* ---- streams ---- */

static bool is_default(CUstream handle) {
  return (uintptr_t)handle <= 2;
}

CUresult stream_resolve(CUstream handle, struct Stream **stream) {
  *stream = NULL;
  if (is_default(handle)) return CUDA_SUCCESS;
  if (!object_known(OBJECT_STREAM, handle)) return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not a stream");
  *stream = handle;
  return CUDA_SUCCESS;
}

static CUresult enter_stream(CUstream handle, struct Stream **stream) {
  CUresult result = driver_enter();
  return result ? result : stream_resolve(handle, stream);
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
  CUresult result = driver_enter();
  (void)flags;
  if (result) return result;
  if (!stream) return CUDA_ERROR_INVALID_VALUE;
  *stream = calloc(1, sizeof **stream);
  if (*stream && object_add(OBJECT_STREAM, *stream)) return CUDA_SUCCESS;
  free(*stream);
  return driver_fail(CUDA_ERROR_OUT_OF_MEMORY, "no memory for a stream");
}

/* A stream or event leaves the capture; the last one takes the graph with it. */
static void leave_capture(struct Graph **capture) {
  if (*capture && !--(*capture)->references) graph_free(*capture);
  *capture = NULL;
}

static void join_capture(struct Graph **place, struct Graph *capture) {
  if (capture) capture->references++;
  leave_capture(place);
  *place = capture;
}

CUresult cuStreamDestroy_v2(CUstream handle) {
  CUresult result = driver_enter();
  if (result) return result;
  if (!object_remove(OBJECT_STREAM, handle)) return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not a stream");
  leave_capture(&handle->capture);
  free(handle);
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream handle) {
  struct Stream *stream;
  CUresult result = enter_stream(handle, &stream);
  if (result) return result;
  if (!stream || !stream->capture) return CUDA_SUCCESS;
  return driver_fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the stream is capturing");
}

CUresult cuStreamQuery(CUstream handle) {
  return cuStreamSynchronize(handle);
}

/* ---- capture ---- */

CUresult cuStreamBeginCapture_v2(CUstream handle, int mode) {
  struct Stream *stream;
  CUresult result = enter_stream(handle, &stream);
  (void)mode;
  if (result) return result;
  if (!stream) return driver_fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot capture");
  if (stream->capture) return driver_fail(CUDA_ERROR_INVALID_VALUE, "the stream is capturing already");
  struct Graph *graph = graph_new();
  if (!graph) return driver_fail(CUDA_ERROR_OUT_OF_MEMORY, "no memory for a graph");
  join_capture(&stream->capture, graph);
  stream->origin = true;
  return CUDA_SUCCESS;
}

/* The works move to a graph of its own: streams that joined and events may still hold the capture. */
CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph) {
  struct Stream *stream;
  CUresult result = enter_stream(handle, &stream);
  if (result) return result;
  if (!graph) return CUDA_ERROR_INVALID_VALUE;
  if (!stream || !stream->capture || !stream->origin) {
    return driver_fail(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "no capture began in this stream");
  }
  struct Graph *ended = graph_new();
  if (!ended || !object_add(OBJECT_GRAPH, ended)) {
    graph_free(ended);
    return driver_fail(CUDA_ERROR_OUT_OF_MEMORY, "no memory for a graph");
  }
  ended->works = stream->capture->works;
  ended->count = stream->capture->count;
  ended->capacity = stream->capture->capacity;
  stream->capture->works = NULL;
  stream->capture->count = stream->capture->capacity = 0;
  stream->capture->ended = true;
  stream->origin = false;
  leave_capture(&stream->capture);
  *graph = ended;
  return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream handle, int *status) {
  struct Stream *stream;
  CUresult result = enter_stream(handle, &stream);
  if (result) return result;
  if (!status) return CUDA_ERROR_INVALID_VALUE;
  if (stream && stream->capture && stream->capture->ended) leave_capture(&stream->capture);
  *status = stream && stream->capture ? CAPTURE_ACTIVE : CAPTURE_NONE;
  return CUDA_SUCCESS;
}

/* ---- events ---- */

static CUresult check_event(CUevent event) {
  CUresult result = driver_enter();
  if (result) return result;
  return object_known(OBJECT_EVENT, event) ? CUDA_SUCCESS : driver_fail(CUDA_ERROR_INVALID_HANDLE, "not an event");
}

CUresult cuEventCreate(CUevent *event, unsigned int flags) {
  CUresult result = driver_enter();
  if (result) return result;
  if (!event) return CUDA_ERROR_INVALID_VALUE;
  *event = calloc(1, sizeof **event);
  if (*event) (*event)->timing = !(flags & EVENT_DISABLE_TIMING);
  if (*event && object_add(OBJECT_EVENT, *event)) return CUDA_SUCCESS;
  free(*event);
  return driver_fail(CUDA_ERROR_OUT_OF_MEMORY, "no memory for an event");
}

CUresult cuEventRecord(CUevent event, CUstream handle) {
  struct Stream *stream;
  struct timespec now;
  CUresult result = check_event(event);
  if (!result) result = stream_resolve(handle, &stream);
  if (result) return result;
  clock_gettime(CLOCK_MONOTONIC, &now);
  join_capture(&event->capture, stream ? stream->capture : NULL);
  event->recorded = !event->capture;
  event->seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
  return CUDA_SUCCESS;
}

/* Inside a capture the waiting stream joins it. */
CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned int flags) {
  struct Stream *stream;
  CUresult result = check_event(event);
  (void)flags;
  if (!result) result = stream_resolve(handle, &stream);
  if (result || !event->capture || event->capture->ended) return result;
  if (!stream) return driver_fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot join a capture");
  if (stream->capture != event->capture) join_capture(&stream->capture, event->capture);
  return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent event) {
  return check_event(event);
}
CUresult cuEventQuery(CUevent event) {
  return check_event(event);
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
  CUresult result = check_event(start);
  if (!result) result = check_event(end);
  if (result) return result;
  if (!milliseconds) return CUDA_ERROR_INVALID_VALUE;
  if (!start->recorded || !end->recorded || !start->timing || !end->timing) {
    return driver_fail(CUDA_ERROR_INVALID_HANDLE, "an event without a time");
  }
  *milliseconds = (float)(1000 * (end->seconds - start->seconds));
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event) {
  CUresult result = driver_enter();
  if (result) return result;
  if (!object_remove(OBJECT_EVENT, event)) return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not an event");
  leave_capture(&event->capture);
  free(event);
  return CUDA_SUCCESS;
}
