/*
 * crash.c - a last report when the program dies of a fatal signal.
 *
 * The handler uses only what may be used in one: write() of texts that it
 * formats by hand, and backtrace(), whose first call (which loads a library)
 * is made at start. It takes no lock: a line of another thread may mix in.
 */
#include "server/crash.h"

#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "walkerdb.h"

#define FRAMES_MAX    64
#define HANDLER_STACK ((size_t)64 << 10)

/* A signal handler is told nothing but the signal: hence a global. */
static struct wdb_log_file *crash_file;

struct report {
    int fd;
    char text[1024];
    size_t size;
};

static void put_text(struct report *r, const char *text)
{
    size_t size = strlen(text);
    if (size > sizeof(r->text) - r->size) {
        size = sizeof(r->text) - r->size;
    }
    memcpy(r->text + r->size, text, size);
    r->size += size;
}

static void put_number(struct report *r, uint64_t value, unsigned base)
{
    char digits[24];
    size_t at = sizeof(digits);
    digits[--at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    put_text(r, digits + at);
}

static void flush(struct report *r)
{
    ssize_t written = write(r->fd, r->text, r->size);
    (void)written;
    r->size = 0;
}

static const char *signal_name(int number)
{
    switch (number) {
    case SIGSEGV:
        return "SIGSEGV";
    case SIGBUS:
        return "SIGBUS";
    case SIGFPE:
        return "SIGFPE";
    case SIGILL:
        return "SIGILL";
    case SIGABRT:
        return "SIGABRT";
    default:
        return "a signal";
    }
}

#if defined(__x86_64__)
static void put_registers(struct report *r, const ucontext_t *context)
{
    static const struct {
        const char *name;
        int index;
    } registers[] = {{"rip", REG_RIP}, {"rsp", REG_RSP}, {"rbp", REG_RBP},
                     {"rax", REG_RAX}, {"rbx", REG_RBX}, {"rcx", REG_RCX},
                     {"rdx", REG_RDX}, {"rsi", REG_RSI}, {"rdi", REG_RDI},
                     {"r8", REG_R8},   {"r9", REG_R9},   {"r10", REG_R10},
                     {"r11", REG_R11}, {"r12", REG_R12}, {"r13", REG_R13},
                     {"r14", REG_R14}, {"r15", REG_R15}};
    for (size_t i = 0; i < WDB_COUNT(registers); i++) {
        put_text(r, i % 4 == 0 ? "\n  " : "  ");
        put_text(r, registers[i].name);
        put_text(r, "=");
        put_number(r, (uint64_t)context->uc_mcontext.gregs[registers[i].index],
                   16);
    }
    put_text(r, "\n");
}
#else
static void put_registers(struct report *r, const ucontext_t *context)
{
    (void)r;
    (void)context;
}
#endif

static void on_fatal_signal(int number, siginfo_t *info, void *context)
{
    struct report r = {.fd = crash_file->fd};
    void *frames[FRAMES_MAX];
    put_text(&r, "\n=== walkerdb crashed: please report what follows ===\n"
                 "walkerdb " WALKERDB_VERSION ", pid ");
    put_number(&r, (uint64_t)getpid(), 10);
    put_text(&r, ", ");
    put_text(&r, signal_name(number));
    put_text(&r, ", code ");
    put_number(&r, (uint64_t)(unsigned)info->si_code, 10);
    put_text(&r, ", address 0x");
    put_number(&r, (uint64_t)(uintptr_t)info->si_addr, 16);
    put_registers(&r, context);
    put_text(&r, "stack (addr2line -f -e walkerdb +OFFSET...):\n");
    flush(&r);
    int count = backtrace(frames, FRAMES_MAX);
    backtrace_symbols_fd(frames, count, r.fd);
    put_text(&r, "=== end of the report ===\n");
    flush(&r);
    /* This ends the process, with a core if allowed; at the latest when the
     * handler that called us (the database's, of SIGBUS) returns. */
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(number, &action, NULL);
    raise(number);
}

void wdb_crash_install(struct wdb_log_file *file)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static char handler_stack[HANDLER_STACK];
    void *frames[2];
    crash_file = file;
#if defined(WDB_SANITIZE_ADDRESS) || defined(WDB_SANITIZE_THREAD)
    return; /* they report more than we can */
#endif
    (void)backtrace(frames, 2);
    /* For an overflow of the main thread's stack; others go without. */
    stack_t stack = {.ss_sp = handler_stack, .ss_size = HANDLER_STACK};
    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < WDB_COUNT(signals); i++) {
        struct sigaction action = {.sa_sigaction = on_fatal_signal,
                                   .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigaction(signals[i], &action, NULL);
    }
}
