/* Runs the embedded network on the CPU device: equal images must give equal answers. */
#include "digits.h"
#include <apnn.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  static DIGITS_INPUT0_TYPE images[2][DIGITS_INPUT0_ELEMENTS];
  static DIGITS_OUTPUT0_TYPE logits[2][DIGITS_OUTPUT0_ELEMENTS];
  static unsigned char others[DIGITS_OUTPUT_COUNT][1024];
  const void *inputs[DIGITS_INPUT_COUNT] = {images};
  void *outputs[DIGITS_OUTPUT_COUNT] = {logits};
  ApnnNetwork *network = NULL;
  ApnnSession *session = NULL;
  char error[512] = "";
  for (int i = 1; i < DIGITS_OUTPUT_COUNT; i++) outputs[i] = others[i];
  for (int i = 0; i < DIGITS_INPUT0_ELEMENTS; i++) images[0][i] = images[1][i] = (DIGITS_INPUT0_TYPE)(i * 7 % 16);
  memset(logits, 0xcd, sizeof logits);
  ApnnStatus status = apnn_load_memory(digits_data, digits_size, "cpu", &network, error, sizeof error);
  if (status == APNN_OK) status = apnn_session_new(network, NULL, &session, error, sizeof error);
  if (status == APNN_OK) status = apnn_run(session, DIGITS_MAX_BATCH, inputs, outputs);
  if (session && status != APNN_OK)
    fprintf(stderr, "%s\n", apnn_session_error(session));
  else if (status != APNN_OK)
    fprintf(stderr, "%s\n", error);
  apnn_session_free(session);
  apnn_network_free(network);
  return status != APNN_OK || memcmp(logits[0], logits[1], sizeof logits[0]) != 0;
}
