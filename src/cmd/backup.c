/*
 * backup.c - SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF.
 *
 * One backup at a time. BGSAVE takes the turn on its worker (`claimed`), so that
 * the next one is refused at once, and the job begins when a thread is free
 * (`started`). Who stops the server cancels what has not started, and waits only
 * for what has.
 */
#include "cmd/backup.h"

#include <stdio.h>
#include <stdlib.h>

#include "cmd/backup_dir.h"
#include "cmd/handlers.h"

/* States of the turn. */
enum {
    IDLE,
    CLAIMED, /* a job will make a backup */
    STARTED, /* a thread makes one */
    FINAL,   /* wdb_backup_run has it: nobody else gets it */
};

struct wdb_background_save {
    pthread_mutex_t lock;
    pthread_cond_t idle; /* state went to IDLE */
    int state;
    bool cancelled; /* by wdb_backup_run: the one under way gives up */
    bool last_ok;
    uint64_t begun_ms;
    uint64_t last_ms; /* end of the last that succeeded */
    int64_t last_duration_ms;
    uint64_t dirty; /* WDB_STATS_DIRTY at the beginning of that one */
    uint64_t done, total;
    uint64_t count;
    bool merge_claimed, merge_last_ok;
    uint64_t merge_begun_ms;
    int64_t merge_last_duration_ms;
    uint64_t merge_count;
};

int wdb_backup_new(struct wdb_background_save **out)
{
    struct wdb_background_save *save = calloc(1, sizeof(*save));
    if (save == NULL) {
        return WALKERDB_ENOMEM;
    }
    pthread_mutex_init(&save->lock, NULL);
    pthread_cond_init(&save->idle, NULL);
    save->state = IDLE;
    save->last_ok = save->merge_last_ok = true;
    save->last_duration_ms = save->merge_last_duration_ms = -1;
    *out = save;
    return 0;
}

void wdb_backup_free(struct wdb_background_save *save)
{
    if (save == NULL) {
        return;
    }
    pthread_cond_destroy(&save->idle);
    pthread_mutex_destroy(&save->lock);
    free(save);
}

static uint64_t now_ms(const struct wdb_context *context)
{
    return context->env->ops->time_ms(context->env);
}

/* --- one backup --------------------------------------------------------------------- */

static int on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct wdb_context *context = arg;
    struct wdb_background_save *save = context->save;
    pthread_mutex_lock(&save->lock);
    save->done = done;
    save->total = total;
    bool stop = save->state != FINAL &&
                (save->cancelled || atomic_load(&context->stopping));
    pthread_mutex_unlock(&save->lock);
    return stop;
}

static int make_backup(struct wdb_context *context,
                       struct wdb_backup_place *place)
{
    int code = wdb_backup_place(context, place);
    if (code == 0) {
        code = wdb_store_backup(wdb_db_store(context->db), place->partial,
                                on_progress, context);
    }
    return code != 0 ? code : wdb_backup_finish(context, place);
}

/* The turn is ours and started: make a backup, end the turn. */
static int perform(struct wdb_context *context, char *error, size_t error_size)
{
    struct wdb_background_save *save = context->save;
    struct wdb_backup_place *place = calloc(1, sizeof(*place));
    uint64_t dirty = wdb_stats_sum(context->stats, WDB_STATS_DIRTY);
    int code = place == NULL ? WALKERDB_ENOMEM : make_backup(context, place);
    if (code == 0) {
        wdb_logger_print(context->logger, WDB_LOG_NOTICE, "Backup made: %s",
                         place->path);
        wdb_backup_prune(context, place,
                         wdb_config_u64(context->config,
                                        WDB_CONFIG_STORE_BACKUP_KEEP));
    } else {
        snprintf(error, error_size, "backup%s%.200s failed: %s",
                 place == NULL || place->dir[0] == '\0' ? "" : " in ",
                 place == NULL ? "" : place->dir, walkerdb_strerror(code));
        wdb_logger_print(context->logger, WDB_LOG_WARNING, "%s", error);
    }
    free(place);
    const uint64_t now = now_ms(context);
    pthread_mutex_lock(&save->lock);
    save->last_ok = code == 0;
    save->last_duration_ms = (int64_t)(now - save->begun_ms);
    if (code == 0) {
        save->last_ms = now;
        save->dirty = dirty;
        save->count++;
    }
    save->done = save->total = 0;
    save->state = IDLE;
    pthread_cond_broadcast(&save->idle);
    pthread_mutex_unlock(&save->lock);
    return code;
}

/* Take the turn for a job to come; false: somebody has it. */
static bool claim(struct wdb_context *context)
{
    struct wdb_background_save *save = context->save;
    pthread_mutex_lock(&save->lock);
    bool free_turn = save->state == IDLE;
    if (free_turn) {
        save->state = CLAIMED;
        save->begun_ms = now_ms(context);
    }
    pthread_mutex_unlock(&save->lock);
    return free_turn;
}

/* The job begins; false: the turn was taken away meanwhile. */
static bool start(struct wdb_context *context)
{
    struct wdb_background_save *save = context->save;
    pthread_mutex_lock(&save->lock);
    bool ours = save->state == CLAIMED;
    if (ours) {
        save->state = STARTED;
    }
    pthread_mutex_unlock(&save->lock);
    return ours;
}

int wdb_backup_run(struct wdb_context *context, char *error, size_t error_size)
{
    struct wdb_background_save *save = context->save;
    pthread_mutex_lock(&save->lock);
    if (save->state == FINAL) {
        pthread_mutex_unlock(&save->lock);
        snprintf(error, error_size, "another backup is under way");
        return WALKERDB_EBUSY;
    }
    save->cancelled = true;
    while (save->state == STARTED) {
        pthread_cond_wait(&save->idle, &save->lock);
    }
    save->cancelled = false;
    save->state = FINAL;
    save->begun_ms = now_ms(context);
    pthread_mutex_unlock(&save->lock);
    return perform(context, error, error_size);
}

void wdb_backup_stop(struct wdb_context *context)
{
    atomic_store(&context->stopping, true); /* on_progress looks at it */
    wdb_store_merge_pause(wdb_db_store(context->db), true);
}

/* --- SAVE and BGSAVE ------------------------------------------------------------------ */

struct save_job {
    struct wdb_context *context;
    int code;
    char error[300];
};

static void save_work(void *arg)
{
    struct save_job *job = arg;
    if (start(job->context)) {
        job->code = perform(job->context, job->error, sizeof(job->error));
    } else {
        job->code = WALKERDB_EABORTED;
        snprintf(job->error, sizeof(job->error), "the server stops");
    }
}

static void save_done(struct wdb_session *session, struct wdb_reply *reply,
                      void *arg)
{
    struct save_job *job = arg;
    (void)session;
    if (job->code == 0) {
        wdb_reply_ok(reply);
    } else {
        wdb_reply_error(reply, "ERR %s", job->error);
    }
    free(job);
}

/* The turn and a job for it; NULL: answered. */
static struct save_job *begin_job(struct wdb_call *call)
{
    struct save_job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return NULL;
    }
    job->context = call->context;
    if (!claim(call->context)) {
        wdb_call_error(call, "ERR Background save already in progress");
        free(job);
        return NULL;
    }
    return job;
}

void wdb_cmd_save(struct wdb_call *call)
{
    struct save_job *job = begin_job(call);
    if (job != NULL) {
        wdb_call_park(call, save_work, save_done, job);
    }
}

void wdb_cmd_bgsave(struct wdb_call *call)
{
    if (call->argc > 2 ||
        (call->argc == 2 && !wdb_call_is(call, 1, "SCHEDULE"))) {
        wdb_call_syntax_error(call);
        return;
    }
    struct save_job *job = begin_job(call);
    if (job == NULL) {
        return;
    }
    struct wdb_context *context = call->context;
    context->hooks->run_off_loop(context->hooks_context,
                                 call->session->executor, save_work, free, job);
    wdb_reply_simple(call->reply, "Background saving started");
}

void wdb_cmd_lastsave(struct wdb_call *call)
{
    struct wdb_backup_stats stats;
    wdb_backup_stats(call->context, &stats);
    wdb_reply_integer(call->reply, (int64_t)stats.last_s);
}

/* --- BGREWRITEAOF ------------------------------------------------------------------------ */

static void merge_work(void *arg)
{
    struct wdb_context *context = arg;
    struct wdb_background_save *save = context->save;
    int code = wdb_store_merge(wdb_db_store(context->db));
    if (code != 0) {
        wdb_logger_print(context->logger, WDB_LOG_WARNING, "Merge failed: %s",
                         walkerdb_strerror(code));
    }
    pthread_mutex_lock(&save->lock);
    save->merge_claimed = false;
    save->merge_last_ok = code == 0;
    save->merge_last_duration_ms =
        (int64_t)(now_ms(context) - save->merge_begun_ms);
    save->merge_count += code == 0;
    pthread_mutex_unlock(&save->lock);
}

static void merge_done(void *arg)
{
    (void)arg;
}

void wdb_cmd_bgrewriteaof(struct wdb_call *call)
{
    struct wdb_context *context = call->context;
    struct wdb_background_save *save = context->save;
    struct wdb_store_stats stats;
    wdb_store_stats(wdb_db_store(context->db), &stats);
    if (stats.merge_paused) {
        wdb_call_error(call, "ERR merges are held by store-merge no");
        return;
    }
    pthread_mutex_lock(&save->lock);
    bool free_turn = !save->merge_claimed;
    if (free_turn) {
        save->merge_claimed = true;
        save->merge_begun_ms = now_ms(context);
    }
    pthread_mutex_unlock(&save->lock);
    if (!free_turn) {
        wdb_call_error(call, "ERR Background append only file rewriting "
                             "already in progress");
        return;
    }
    context->hooks->run_off_loop(context->hooks_context,
                                 call->session->executor, merge_work,
                                 merge_done, context);
    /* A merge that began by itself comes to its end first. */
    wdb_reply_simple(call->reply,
                     stats.merge_running
                         ? "Background append only file rewriting scheduled"
                         : "Background append only file rewriting started");
}

/* --- figures -------------------------------------------------------------------------------- */

static int64_t seconds(int64_t ms)
{
    return ms < 0 ? -1 : ms / 1000;
}

void wdb_backup_stats(struct wdb_context *context, struct wdb_backup_stats *out)
{
    struct wdb_background_save *save = context->save;
    const uint64_t dirty = wdb_stats_sum(context->stats, WDB_STATS_DIRTY);
    const uint64_t now = now_ms(context);
    pthread_mutex_lock(&save->lock);
    const bool running = save->state != IDLE;
    const uint64_t last_ms =
        save->last_ms != 0 ? save->last_ms : context->started_ms;
    *out = (struct wdb_backup_stats){
        .running = running,
        .last_ok = save->last_ok,
        .last_s = last_ms / 1000,
        .changes = dirty > save->dirty ? dirty - save->dirty : 0,
        .last_duration_s = seconds(save->last_duration_ms),
        .duration_s = running ? seconds((int64_t)(now - save->begun_ms)) : -1,
        .done = save->done,
        .total = save->total,
        .count = save->count,
        .merge_running = save->merge_claimed,
        .merge_last_ok = save->merge_last_ok,
        .merge_last_duration_s = seconds(save->merge_last_duration_ms),
        .merge_duration_s = save->merge_claimed
                                ? seconds((int64_t)(now - save->merge_begun_ms))
                                : -1,
        .merge_count = save->merge_count,
    };
    pthread_mutex_unlock(&save->lock);
}
