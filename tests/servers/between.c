/* A PKCS#11 module that stands between a program and a real one, to cause what a real token cannot be made to do:
 *   BETWEEN_MODULE      the real module
 *   BETWEEN_FLAGS       flags added to those of each token, in hexadecimal
 *   BETWEEN_SIGNATURES  after so many signatures the token is "removed"
 *   BETWEEN_LOST        before this signature the token is pulled out, and put back
 *   BETWEEN_LOG         a file that gets a line for each login and each signature
 * Only the two structures that it looks into are laid out here, after the standard (version 2.40). */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long word;
enum { DEVICE_REMOVED = 0x32, GENERAL_ERROR = 5 };
enum { TOKEN_INFO = 7, CLOSE_ALL = 15, SESSION_INFO = 16, LOGIN = 19, SIGN_INIT = 43, FUNCTIONS = 68 };
struct list { unsigned char version[2]; void *function[FUNCTIONS]; };
struct token { unsigned char names[96]; word flags; };

static struct list ours, *real;

static void noted(const char *line) {
  FILE *log = getenv("BETWEEN_LOG") ? fopen(getenv("BETWEEN_LOG"), "a") : NULL;
  if (log) { fputs(line, log); fclose(log); }
}

static word token_info(word slot, struct token *info) {
  word answer = ((word (*)(word, struct token *))real->function[TOKEN_INFO - 1])(slot, info);
  if (answer == 0 && getenv("BETWEEN_FLAGS")) info->flags |= strtoul(getenv("BETWEEN_FLAGS"), NULL, 16);
  return answer;
}

static word login(word session, word user, unsigned char *pin, word length) {
  noted("login\n");
  return ((word (*)(word, word, unsigned char *, word))real->function[LOGIN - 1])(session, user, pin, length);
}

static word sign_init(word session, void *mechanism, word key) {
  static long made;
  const char *allowed = getenv("BETWEEN_SIGNATURES"), *lost = getenv("BETWEEN_LOST");
  long before = __sync_fetch_and_add(&made, 1);
  if (allowed && before >= atol(allowed)) return DEVICE_REMOVED;
  if (lost && before + 1 == atol(lost)) {
    word slot_and_more[4];
    ((word (*)(word, word *))real->function[SESSION_INFO - 1])(session, slot_and_more);
    ((word (*)(word))real->function[CLOSE_ALL - 1])(slot_and_more[0]);
    return DEVICE_REMOVED;
  }
  noted("signature\n");
  return ((word (*)(word, void *, word))real->function[SIGN_INIT - 1])(session, mechanism, key);
}

word C_GetFunctionList(struct list **answer) {
  void *module = dlopen(getenv("BETWEEN_MODULE"), RTLD_NOW | RTLD_LOCAL);
  word (*theirs)(struct list **) = module ? (word (*)(struct list **))dlsym(module, "C_GetFunctionList") : NULL;
  if (!theirs || theirs(&real)) return GENERAL_ERROR;
  ours = *real;
  ours.function[TOKEN_INFO - 1] = (void *)token_info;
  ours.function[LOGIN - 1] = (void *)login;
  ours.function[SIGN_INIT - 1] = (void *)sign_init;
  *answer = &ours;
  return 0;
}
