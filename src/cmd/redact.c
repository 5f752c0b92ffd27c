/* redact.c - arguments that must not be shown. */
#include "cmd/redact.h"

#include <strings.h>

#include "admin/config.h"
#include "cmd/handlers.h"

static bool is_word(struct wdb_slice text, const char *word)
{
    return text.size == strlen(word) &&
           strncasecmp((const char *)text.data, word, text.size) == 0;
}

bool wdb_argument_is_secret(const struct wdb_command *command, uint32_t argc,
                            const struct wdb_slice *argv, uint32_t i)
{
    if (command == NULL || i >= argc) {
        return false;
    }
    if (command->handler == wdb_cmd_auth) {
        return i >= 1;
    }
    if (command->handler == wdb_cmd_hello) {
        /* HELLO 3 AUTH user password SETNAME name */
        return (i >= 3 && is_word(argv[i - 1], "AUTH")) ||
               (i >= 4 && is_word(argv[i - 2], "AUTH"));
    }
    if (command->handler == wdb_cmd_config_set) {
        /* CONFIG SET name value name value */
        if (i < 3 || i % 2 == 0) {
            return false;
        }
        int id = wdb_config_find(argv[i - 1]);
        return id >= 0 && wdb_config_is_secret((enum wdb_config_id)id);
    }
    return false;
}
