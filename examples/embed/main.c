/* Reads a handwritten digit from standard input (8 rows of 8 gray levels, 0 to f) and says which one it is. The network
 * is part of the program. */
#include "digits.h"

#include <apnn.h>
#include <stdio.h>

/* 64 hexadecimal digits, spaces and line ends between them do not matter. */
static int read_image(uint8_t image[DIGITS_INPUT0_ELEMENTS]) {
  for (int i = 0; i < DIGITS_INPUT0_ELEMENTS; i++) {
    unsigned level;
    if (scanf("%1x", &level) != 1) {
      fprintf(stderr, "expected %d gray levels from 0 to f, got %d\n", DIGITS_INPUT0_ELEMENTS, i);
      return 0;
    }
    image[i] = (uint8_t)level;
  }
  return 1;
}

static int classify(ApnnSession *session, const char *device) {
  uint8_t image[DIGITS_INPUT0_ELEMENTS];
  float logits[DIGITS_OUTPUT0_ELEMENTS];
  int32_t digit;
  const void *inputs[DIGITS_INPUT_COUNT] = {image};
  void *outputs[DIGITS_OUTPUT_COUNT] = {logits, &digit};
  if (!read_image(image)) return 1;
  if (apnn_run(session, 1, inputs, outputs) != APNN_OK) {
    fprintf(stderr, "%s\n", apnn_session_error(session));
    return 1;
  }
  printf("this is a %d (on %s)\n", (int)digit, device);
  for (int i = 0; i < DIGITS_OUTPUT0_ELEMENTS; i++) printf("  %d: %7.3f\n", i, (double)logits[i]);
  return 0;
}

int main(int argc, char **argv) {
  char error[512];
  ApnnNetwork *network = NULL;
  ApnnSession *session = NULL;
  const char *device = argc > 1 ? argv[1] : NULL; /* NULL: a GPU where there is one, otherwise the CPU */
  int result = 1;
  if (apnn_load_memory(digits_data, digits_size, device, &network, error, sizeof error) == APNN_OK &&
      apnn_session_new(network, NULL, &session, error, sizeof error) == APNN_OK)
    result = classify(session, apnn_device_name(network));
  else
    fprintf(stderr, "%s\n", error);
  apnn_session_free(session);
  apnn_network_free(network);
  return result;
}
