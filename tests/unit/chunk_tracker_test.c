/* The chunk tracker: every sample of an epoch is claimed once, counts with the checkpoint that holds it, and nothing is lost between. */
#include "../folder.h"

#include <aios/chunk_tracker.h>

#include <sqlite3.h>

static aios_context *context;

/* ---- short forms ------------------------------------------------------------------------------------------------- */

/* Blocks of 20 samples in chunks of 8: 8, 8, 4. */
static aios_chunk_tracker_options small(const char *folder, uint64_t total)
{
    aios_chunk_tracker_options o = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    o.folder = folder;
    o.block_samples = 20;
    o.chunk_samples = 8;
    o.total_samples = total;
    o.busy_seconds = 5;
    return o;
}

static aios_chunk_tracker *open_tracker(const aios_chunk_tracker_options *o)
{
    aios_chunk_tracker *tracker;
    assert_ok(aios_chunk_tracker_open(context, o, &tracker));
    return tracker;
}

static aios_chunk_claim claim_as(aios_chunk_tracker *tracker, const char *owner, int32_t gpu_id, uint64_t last_epoch)
{
    aios_chunk_claim_options o = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim c = AIOS_CHUNK_CLAIM_INIT;
    char device[16];
    (void)snprintf(device, sizeof device, "cuda:%d", (int)gpu_id);
    o.owner = owner;
    o.gpu_id = gpu_id;
    o.device = gpu_id < 0 ? "" : device;
    o.last_epoch = last_epoch;
    assert_ok(aios_chunk_tracker_claim(tracker, &o, &c));
    return c;
}

static aios_chunk_claim claim(aios_chunk_tracker *tracker)
{
    return claim_as(tracker, "", -1, 0);
}

static void complete(aios_chunk_tracker *tracker, const aios_chunk_claim *c)
{
    assert_ok(aios_chunk_tracker_complete(tracker, c->token, 2, 10));
}

static uint64_t save(aios_chunk_tracker *tracker)
{
    uint64_t checkpoint;
    assert_ok(aios_chunk_tracker_seal(tracker, &checkpoint));
    assert_ok(aios_chunk_tracker_commit(tracker, checkpoint));
    return checkpoint;
}

static aios_chunk_progress progress_of(aios_chunk_tracker *tracker, uint64_t epoch)
{
    aios_chunk_progress p = AIOS_CHUNK_PROGRESS_INIT;
    assert_ok(aios_chunk_tracker_get_epoch(tracker, epoch, &p));
    return p;
}

static aios_chunk_tracker_info info_of(aios_chunk_tracker *tracker)
{
    aios_chunk_tracker_info info = AIOS_CHUNK_TRACKER_INFO_INIT;
    assert_ok(aios_chunk_tracker_get_info(tracker, &info));
    return info;
}

static void assert_claim(aios_chunk_claim c, uint64_t epoch, uint64_t block, uint64_t chunk, uint64_t first, uint64_t end)
{
    if (c.outcome != AIOS_CHUNK_CLAIMED || c.epoch != epoch || c.block != block || c.chunk != chunk || c.first != first || c.end != end)
        fail_msg("outcome %d, epoch %d, block %d, chunk %d, samples %d to %d", (int)c.outcome, (int)c.epoch, (int)c.block, (int)c.chunk,
                 (int)c.first, (int)c.end);
}

static char *read_json(const char *folder)
{
    char *text;
    size_t size;
    assert_ok(os_file_read_all(context, test_path(folder, "chunk_tracker_state.json"), UINT64_MAX, &text, &size));
    return text;
}

static void assert_json(const char *folder, const char *part)
{
    char *text = read_json(folder);
    if (!strstr(text, part)) fail_msg("%s is not in %s", part, text);
    aios_memory_free(context, text);
}

static void write_json(const char *folder, const char *text)
{
    test_file_write(test_path(folder, "chunk_tracker_state.json"), text, strlen(text));
}

/* Each test has a folder of its own. */
static int make_folder(void **state)
{
    *state = test_folder_make();
    return 0;
}

static int remove_folder(void **state)
{
    test_folder_remove(*state);
    return 0;
}

/* ---- claims ------------------------------------------------------------------------------------------------------ */

static void claims_go_up_through_chunks_and_blocks(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    static const uint64_t expected[][4] = {{0, 0, 0, 8},   {0, 1, 8, 16},  {0, 2, 16, 20}, {1, 0, 20, 28},
                                           {1, 1, 28, 36}, {1, 2, 36, 40}, {2, 0, 40, 45}};
    uint64_t token = 0;
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        aios_chunk_claim c = claim(t);
        assert_claim(c, 0, expected[i][0], expected[i][1], expected[i][2], expected[i][3]);
        assert_int_equal(c.offset, 0);
        assert_true(c.token > token);
        token = c.token;
        if (i % 2) complete(t, &c);
    }
    aios_chunk_claim c = claim(t);
    assert_int_equal(c.outcome, AIOS_CHUNK_WAIT);
    assert_true(c.wait_seconds > 0);
    assert_int_equal(c.token, 0);
    aios_chunk_tracker_close(t);
}

static void a_start_is_a_bound_in_every_epoch(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim_options from = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim c = AIOS_CHUNK_CLAIM_INIT;
    from.start_block = 1;
    from.start_chunk = 1;
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        static const uint64_t expected[][4] = {{1, 1, 28, 36}, {1, 2, 36, 40}, {2, 0, 40, 45}};
        for (size_t i = 0; i < COUNT_OF(expected); i++) {
            assert_ok(aios_chunk_tracker_claim(t, &from, &c));
            assert_claim(c, epoch, expected[i][0], expected[i][1], expected[i][2], expected[i][3]);
            complete(t, &c);
        }
    }
    assert_false(progress_of(t, 0).complete);
    assert_int_equal(progress_of(t, 0).trained, 17);
    from.last_epoch = 1;
    assert_ok(aios_chunk_tracker_claim(t, &from, &c));
    assert_int_equal(c.outcome, AIOS_CHUNK_FINISHED);
    from.start_block = 3; /* beyond the end */
    from.last_epoch = AIOS_CHUNK_EVERY;
    assert_ok(aios_chunk_tracker_claim(t, &from, &c));
    assert_int_equal(c.outcome, AIOS_CHUNK_FINISHED);
    assert_int_equal(info_of(t).epochs, 2);
    from.start_chunk = 3;
    assert_fails(aios_chunk_tracker_claim(t, &from, &c), AIOS_INVALID_ARGUMENT, "start_chunk is 3: a block has 3 chunks");
    assert_claim(claim(t), 0, 0, 0, 0, 8); /* without the bound the lowest is still free */
    aios_chunk_tracker_close(t);
}

static void a_released_chunk_goes_on_at_its_offset(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim a = claim_as(t, "a", 0, 0), b;
    assert_ok(aios_chunk_tracker_progress(t, a.token, 2, 1, 1));
    assert_ok(aios_chunk_tracker_release(t, a.token, 3, 1, 1));
    b = claim_as(t, "b", 1, 0);
    assert_claim(b, 0, 0, 0, 3, 8);
    assert_int_equal(b.offset, 3);
    assert_int_equal(progress_of(t, 0).chunks_trained, 0); /* an immediate stop marks no whole chunk done */
    complete(t, &b);
    assert_int_equal(progress_of(t, 0).chunks_trained, 1);
    assert_int_equal(progress_of(t, 0).trained, 8);
    /* Only the first part is lost with its worker: only it is claimed again. */
    assert_ok(aios_chunk_tracker_abandon(t, "a"));
    assert_claim(claim(t), 0, 0, 0, 0, 3);
    aios_chunk_tracker_close(t);
}

static void reports_that_cant_be_are_refused(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim c = claim(t);
    assert_fails(aios_chunk_tracker_progress(t, c.token, 9, 0, 0), AIOS_OUT_OF_RANGE, "samples is 9: claim 1 has 8");
    assert_ok(aios_chunk_tracker_progress(t, c.token, 5, 0, 0));
    assert_fails(aios_chunk_tracker_progress(t, c.token, 4, 0, 0), AIOS_OUT_OF_RANGE, "samples is 4: 5 of claim 1 were reported before");
    assert_fails(aios_chunk_tracker_release(t, c.token, 4, 0, 0), AIOS_OUT_OF_RANGE, "5 of claim 1");
    complete(t, &c);
    assert_fails(aios_chunk_tracker_complete(t, c.token, 0, 0), AIOS_WRONG_STATE, "claim 1 is no more");
    assert_fails(aios_chunk_tracker_heartbeat(t, UINT64_MAX), AIOS_WRONG_STATE, "is no more");
    assert_int_equal(progress_of(t, 0).trained, 8);
    aios_chunk_tracker_close(t);
}

static void a_lease_that_passed_gives_the_chunk_to_another_and_fences_the_first(void **state)
{
    aios_chunk_tracker_options brief = small(*state, 45), longer = brief;
    brief.lease_seconds = 0.05;
    longer.lease_seconds = 1.0;
    aios_chunk_tracker *t = open_tracker(&brief), *other = open_tracker(&longer);
    aios_chunk_claim renewed = claim_as(other, "renewed", 1, 0), slow = claim_as(t, "slow", 0, 0);
    os_sleep(0.6);
    assert_ok(aios_chunk_tracker_progress(other, renewed.token, 1, 0, 0));
    os_sleep(0.5); /* longer than a lease since it was claimed */
    aios_chunk_claim again = claim_as(other, "other", 2, 0);
    assert_claim(again, 0, 0, 1, 8, 16);
    assert_true(again.token > slow.token);
    assert_fails(aios_chunk_tracker_heartbeat(t, slow.token), AIOS_WRONG_STATE, "its lease passed");
    assert_fails(aios_chunk_tracker_complete(t, slow.token, 1, 1), AIOS_WRONG_STATE, "its lease passed");
    complete(other, &renewed);
    complete(other, &again);
    assert_int_equal(progress_of(t, 0).trained, 16);
    /* Nobody asked meanwhile: the lease can be renewed. */
    slow = claim(t);
    os_sleep(0.1);
    assert_ok(aios_chunk_tracker_heartbeat(t, slow.token));
    complete(t, &slow);
    aios_chunk_tracker_close(other);
    aios_chunk_tracker_close(t);
}

/* What one open tracker wrote of itself becomes what another process would have written. */
static void pretend(const char *folder, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(test_path(folder, "chunk_tracker.sqlite"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void owners_of_another_boot_are_dead_and_those_out_of_sight_are_not(void **state)
{
    static const struct {
        const char *sql;
        int32_t outcome;
    } cases[] = {
        {"UPDATE session SET boot = 'an earlier one'", AIOS_CHUNK_CLAIMED},
        {"UPDATE session SET started = started + 1", AIOS_CHUNK_CLAIMED}, /* the process id was given to another */
        {"UPDATE session SET space = 'pid:[1]', process = 4000000", AIOS_CHUNK_WAIT},
        {"UPDATE session SET boot = ''", AIOS_CHUNK_WAIT}, /* a system that does not tell */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char folder[512];
        (void)snprintf(folder, sizeof folder, "%.400s/%d", (char *)*state, (int)i);
        aios_chunk_tracker_options o = small(folder, 8);
        aios_chunk_tracker *t = open_tracker(&o), *other;
        (void)claim(t);
        pretend(folder, cases[i].sql);
        other = open_tracker(&o);
        aios_chunk_claim c = claim(other);
        if (c.outcome != cases[i].outcome) fail_msg("%s: outcome %d", cases[i].sql, (int)c.outcome);
        aios_chunk_tracker_close(other);
        aios_chunk_tracker_close(t);
    }
}

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

static void an_epoch_is_complete_when_every_chunk_of_every_block_is(void **state)
{
    aios_chunk_tracker_options o = small(*state, 40);
    aios_chunk_tracker *t = open_tracker(&o);
    for (int i = 0; i < 6; i++) {
        assert_false(progress_of(t, 0).complete);
        assert_int_equal(info_of(t).current_epoch, 0);
        aios_chunk_claim c = claim(t);
        assert_int_equal(c.outcome, AIOS_CHUNK_CLAIMED);
        complete(t, &c);
    }
    aios_chunk_progress p = progress_of(t, 0);
    assert_true(p.complete);
    assert_int_equal(p.chunks, 6);
    assert_int_equal(p.chunks_trained, 6);
    assert_int_equal(p.blocks_trained, 2);
    assert_int_equal(p.chunks_committed, 0);
    assert_int_equal(claim(t).outcome, AIOS_CHUNK_FINISHED); /* stops after the epoch */
    (void)save(t);
    assert_int_equal(progress_of(t, 0).blocks_committed, 2);
    assert_int_equal(info_of(t).current_epoch, 1);
    aios_chunk_tracker_close(t);
}

static void iterating_rolls_and_trains_every_epoch_whole(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        uint64_t samples = 0;
        for (int i = 0; i < 7; i++) {
            aios_chunk_claim c = claim_as(t, "", 0, AIOS_CHUNK_EVERY);
            assert_int_equal(c.epoch, epoch);
            samples += c.end - c.first;
            complete(t, &c);
        }
        assert_int_equal(samples, 45); /* the second epoch trains all, too */
        (void)save(t);
    }
    aios_chunk_tracker_close(t);
    /* Another run of one pass begins where the last has ended. */
    t = open_tracker(&o);
    assert_int_equal(info_of(t).current_epoch, 3);
    assert_claim(claim_as(t, "", 0, info_of(t).current_epoch), 3, 0, 0, 0, 8);
    aios_chunk_tracker_close(t);
}

static void the_next_epoch_begins_while_the_last_chunks_are_trained_but_not_the_one_after(void **state)
{
    aios_chunk_tracker_options o = small(*state, 16);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim slow = claim_as(t, "slow", 0, AIOS_CHUNK_EVERY), fast;
    for (uint64_t i = 0; i < 3; i++) {
        fast = claim_as(t, "fast", 1, AIOS_CHUNK_EVERY);
        assert_int_equal(fast.epoch, i > 0);
        complete(t, &fast);
    }
    assert_int_equal(claim_as(t, "fast", 1, AIOS_CHUNK_EVERY).outcome, AIOS_CHUNK_WAIT);
    complete(t, &slow);
    assert_claim(claim_as(t, "fast", 1, AIOS_CHUNK_EVERY), 2, 0, 0, 0, 8);
    aios_chunk_tracker_close(t);
}

static void a_total_may_become_known_late(void **state)
{
    aios_chunk_tracker_options o = small(*state, 0);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim c[5];
    assert_int_equal(info_of(t).total_blocks, 0);
    for (int i = 0; i < 5; i++) c[i] = claim(t);
    assert_claim(c[4], 0, 1, 1, 28, 36);
    for (int i = 0; i < 2; i++) complete(t, &c[i]);
    assert_int_equal(progress_of(t, 0).trained, 16);
    assert_int_equal(progress_of(t, 0).complete, 0);
    assert_fails(aios_chunk_tracker_set_total(t, 15), AIOS_INVALID_ARGUMENT, "total_samples is 15");
    assert_fails(aios_chunk_tracker_set_total(t, 0), AIOS_INVALID_ARGUMENT, "total_samples is 0");
    assert_ok(aios_chunk_tracker_set_total(t, 23));
    assert_ok(aios_chunk_tracker_set_total(t, 23));
    assert_fails(aios_chunk_tracker_set_total(t, 24), AIOS_INVALID_ARGUMENT, "knows that the dataset has 23");
    assert_ok(aios_chunk_tracker_release(t, c[4].token, 0, 0, 0)); /* beyond the end: there never was one */
    assert_int_equal(claim(t).outcome, AIOS_CHUNK_WAIT);
    complete(t, &c[2]);
    complete(t, &c[3]); /* ends at 23 */
    assert_int_equal(claim(t).outcome, AIOS_CHUNK_FINISHED);
    assert_true(progress_of(t, 0).complete);
    assert_int_equal(progress_of(t, 0).trained, 23);
    assert_int_equal(info_of(t).total_blocks, 2);
    aios_chunk_tracker_close(t);
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------- */

static void completions_count_with_their_checkpoint_and_roll_back_without(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim c = claim_as(t, "w", 0, 0);
    complete(t, &c);
    assert_int_equal(save(t), 1);
    c = claim_as(t, "w", 0, 0);
    complete(t, &c);
    c = claim_as(t, "w", 0, 0);
    assert_ok(aios_chunk_tracker_progress(t, c.token, 2, 1, 1));
    assert_int_equal(save(t), 2);
    assert_ok(aios_chunk_tracker_progress(t, c.token, 3, 1, 1));
    assert_int_equal(progress_of(t, 0).committed, 18);
    complete(t, &c);
    assert_int_equal(progress_of(t, 0).trained, 20);
    assert_ok(aios_chunk_tracker_resume(t, 2)); /* a half-trained chunk at its offset */
    assert_int_equal(progress_of(t, 0).committed, 18);
    assert_int_equal(progress_of(t, 0).trained, 18);
    c = claim(t);
    assert_claim(c, 0, 0, 2, 18, 20);
    assert_int_equal(c.offset, 2);
    assert_ok(aios_chunk_tracker_resume(t, 1)); /* the newest folder was damaged, say */
    assert_ok(aios_chunk_tracker_resume(t, 1)); /* again: it died before the next seal */
    assert_claim(claim(t), 0, 0, 1, 8, 16);
    assert_fails(aios_chunk_tracker_resume(t, 2), AIOS_INVALID_ARGUMENT, "checkpoint 2 was given up when training went on from 1");
    assert_fails(aios_chunk_tracker_commit(t, 2), AIOS_INVALID_ARGUMENT, "given up");
    assert_fails(aios_chunk_tracker_resume(t, 3), AIOS_INVALID_ARGUMENT, "checkpoint 3 was never sealed here: the last was 2");
    assert_fails(aios_chunk_tracker_commit(t, 0), AIOS_INVALID_ARGUMENT, "checkpoint is 0");
    assert_int_equal(save(t), 3);
    assert_ok(aios_chunk_tracker_resume(t, 0)); /* from new weights */
    assert_int_equal(progress_of(t, 0).trained, 0);
    assert_claim(claim(t), 0, 0, 0, 0, 8);
    aios_chunk_tracker_close(t);
}

static void what_was_sealed_and_not_committed_waits_for_resume(void **state)
{
    uint64_t checkpoint, made[2];
    aios_chunk_tracker_options o = small(*state, 45);
    for (uint64_t is_there = 0; is_there < 2; is_there++) {
        aios_chunk_tracker *t = open_tracker(&o);
        aios_chunk_claim c = claim(t), later = claim(t);
        aios_chunk_claim_options any = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
        complete(t, &c);
        assert_ok(aios_chunk_tracker_seal(t, &checkpoint));
        complete(t, &later);
        aios_chunk_tracker_close(t); /* dies before commit: the checkpoint is on the disk, or not */
        t = open_tracker(&o);
        assert_true(info_of(t).needs_resume);
        assert_fails(aios_chunk_tracker_claim(t, &any, &c), AIOS_WRONG_STATE, "call aios_chunk_tracker_resume");
        assert_ok(aios_chunk_tracker_resume(t, is_there ? checkpoint : checkpoint - 1));
        made[is_there] = progress_of(t, 0).committed;
        aios_chunk_tracker_close(t);
    }
    assert_int_equal(made[0], 0);
    assert_int_equal(made[1], 8);
}

static void a_checkpoint_that_was_never_written_gives_its_samples_to_the_next(void **state)
{
    uint64_t first, second;
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim c = claim(t);
    complete(t, &c);
    assert_ok(aios_chunk_tracker_seal(t, &first));
    c = claim(t);
    complete(t, &c);
    assert_ok(aios_chunk_tracker_seal(t, &second));
    assert_ok(aios_chunk_tracker_commit(t, second));
    assert_int_equal(progress_of(t, 0).committed, 16);
    aios_chunk_tracker_close(t);
}

static void a_lost_worker_loses_what_nobody_shares(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim shared = claim_as(t, "a", 0, 0), b = claim_as(t, "b", 1, 0), own, open;
    complete(t, &shared);
    complete(t, &b);
    open = claim_as(t, "a", 0, 0);
    assert_ok(aios_chunk_tracker_progress(t, open.token, 1, 1, 1));
    assert_ok(aios_chunk_tracker_share(t)); /* the replicas were merged */
    own = claim_as(t, "a", 0, 0);
    complete(t, &own);
    assert_ok(aios_chunk_tracker_progress(t, open.token, 3, 1, 1));
    assert_int_equal(progress_of(t, 0).trained, 25);
    assert_ok(aios_chunk_tracker_abandon(t, "a"));
    assert_int_equal(progress_of(t, 0).trained, 17);
    assert_claim(claim_as(t, "b", 1, 0), 0, 0, 2, 17, 20);
    assert_claim(claim_as(t, "b", 1, 0), 0, 1, 0, 20, 28);
    assert_ok(aios_chunk_tracker_abandon(t, "nobody"));
    aios_chunk_tracker_close(t);
}

static void closing_gives_back_what_no_checkpoint_holds(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t = open_tracker(&o), *other = open_tracker(&o);
    aios_chunk_claim mine = claim(t), theirs = claim(other);
    complete(t, &mine);
    mine = claim(t);
    assert_fails(aios_chunk_tracker_resume(other, 0), AIOS_WRONG_STATE, "have 1 claims and 1 pieces");
    aios_chunk_tracker_close(t);
    assert_claim(claim(other), 0, 0, 0, 0, 8);
    assert_claim(claim(other), 0, 0, 2, 16, 20);
    complete(other, &theirs);
    assert_ok(aios_chunk_tracker_share(other));
    aios_chunk_tracker_close(other);
    t = open_tracker(&o); /* the last replica is gone: sharing does not help */
    assert_int_equal(progress_of(t, 0).trained, 0);
    aios_chunk_tracker_close(t);
}

static void forgetting_keeps_sums_and_refuses_what_it_can_no_longer_do(void **state)
{
    aios_chunk_tracker_options o = small(*state, 16);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_share share = AIOS_CHUNK_SHARE_INIT;
    for (int i = 0; i < 5; i++) {
        aios_chunk_claim c = claim_as(t, "w", 3, AIOS_CHUNK_EVERY);
        complete(t, &c);
        (void)save(t);
    }
    assert_fails(aios_chunk_tracker_forget(t, 6), AIOS_INVALID_ARGUMENT, "never sealed");
    assert_ok(aios_chunk_tracker_forget(t, 4));
    assert_fails(aios_chunk_tracker_resume(t, 3), AIOS_OUT_OF_RANGE, "those before 4 were forgotten");
    assert_ok(aios_chunk_tracker_get_share(t, 0, 0, &share));
    assert_int_equal(share.committed, 16);
    assert_ok(aios_chunk_tracker_resume(t, 4));
    assert_claim(claim_as(t, "w", 3, AIOS_CHUNK_EVERY), 2, 0, 0, 0, 8);
    assert_true(progress_of(t, 0).complete && progress_of(t, 1).complete);
    aios_chunk_tracker_close(t);
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

static void progress_is_told_per_epoch_block_device_and_claim(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_progress p = AIOS_CHUNK_PROGRESS_INIT;
    aios_chunk_share share = AIOS_CHUNK_SHARE_INIT;
    aios_chunk_holder holder = AIOS_CHUNK_HOLDER_INIT;
    for (int i = 0; i < 4; i++) {
        aios_chunk_claim c = claim_as(t, "w", i % 2, 0);
        complete(t, &c);
    }
    (void)save(t);
    aios_chunk_claim c = claim_as(t, "w", 1, 0), open = claim_as(t, "w5", 7, 0);
    complete(t, &c);
    assert_ok(aios_chunk_tracker_progress(t, open.token, 3, 1, 1));
    assert_ok(aios_chunk_tracker_get_block(t, 0, 0, &p));
    assert_true(p.complete);
    assert_int_equal(p.chunks_committed, 3);
    assert_ok(aios_chunk_tracker_get_block(t, 0, 1, &p));
    assert_int_equal(p.trained, 16);
    assert_int_equal(p.committed, 8);
    assert_int_equal(p.claimed, 4);
    assert_int_equal(p.chunks, 3);
    assert_int_equal(p.blocks_trained, 0);
    assert_ok(aios_chunk_tracker_get_block(t, 0, 2, &p));
    assert_int_equal(p.samples, 5);
    assert_fails(aios_chunk_tracker_get_block(t, 0, 3, &p), AIOS_OUT_OF_RANGE, "there are 3");
    assert_fails(aios_chunk_tracker_get_epoch(t, 1, &p), AIOS_OUT_OF_RANGE, "has not begun");
    assert_ok(aios_chunk_tracker_get_share(t, AIOS_CHUNK_EVERY, 1, &share));
    assert_string_equal(share.device, "cuda:1");
    assert_int_equal(share.committed, 16);
    assert_int_equal(share.pending, 8);
    assert_int_equal(share.steps, 6);
    assert_fails(aios_chunk_tracker_get_share(t, 0, 2, &share), AIOS_NOT_FOUND, "fewer than 3");
    assert_ok(aios_chunk_tracker_get_holder(t, 0, &holder));
    assert_string_equal(holder.owner, "w5");
    assert_int_equal(holder.process, os_process_id());
    assert_int_equal(holder.trained, 3);
    assert_true(holder.lease_seconds > 50 && holder.lease_seconds <= 60);
    assert_fails(aios_chunk_tracker_get_holder(t, 1, &holder), AIOS_NOT_FOUND, "fewer than 2");
    aios_chunk_tracker_close(t);
}

static void a_read_only_tracker_looks_and_changes_nothing(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45), look = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    aios_chunk_tracker *t, *reader;
    aios_chunk_claim_options any = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    look.folder = *state;
    look.read_only = 1;
    assert_fails(aios_chunk_tracker_open(context, &look, &reader), AIOS_NOT_FOUND, "neither chunk_tracker.sqlite");
    assert_null(reader);
    t = open_tracker(&o);
    aios_chunk_claim c = claim(t);
    complete(t, &c);
    (void)save(t);
    reader = open_tracker(&look);
    assert_int_equal(progress_of(reader, 0).committed, 8);
    assert_int_equal(info_of(reader).chunk_samples, 8);
    assert_fails(aios_chunk_tracker_claim(reader, &any, &c), AIOS_WRONG_STATE, "read_only");
    assert_fails(aios_chunk_tracker_export(reader, NULL), AIOS_WRONG_STATE, "give a path");
    assert_ok(aios_chunk_tracker_export(reader, test_path(*state, "copy.json")));
    aios_chunk_tracker_close(reader);
    aios_chunk_tracker_close(t);
    reader = open_tracker(&look); /* nobody has it open, there is no log */
    assert_int_equal(progress_of(reader, 0).committed, 8);
    aios_chunk_tracker_close(reader);
    assert_ok(os_remove(test_path(*state, "chunk_tracker.sqlite")));
    reader = open_tracker(&look); /* the JSON file alone */
    assert_int_equal(progress_of(reader, 0).committed, 8);
    assert_int_equal(info_of(reader).committed, 1);
    aios_chunk_tracker_close(reader);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void the_json_has_the_documented_layout(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    o.brain_id = "brain \"7\"";
    o.dataset_name = "t\xc3\xa4st";
    aios_chunk_tracker *t = open_tracker(&o);
    for (int i = 0; i < 4; i++) {
        aios_chunk_claim c = claim_as(t, "w", i, 0);
        assert_ok(aios_chunk_tracker_complete(t, c.token, (uint64_t)i + 1, (uint64_t)i * 10));
    }
    (void)claim_as(t, "w", 9, 0);
    (void)save(t);
    assert_json(*state, "\"brain_id\": \"brain \\\"7\\\"\"");
    assert_json(*state, "\"dataset_name\": \"t\xc3\xa4st\"");
    assert_json(*state, "{\"block_id\": 1, \"chunk_id\": 0, \"gpu_id\": 3, \"optimizer_step\": 30, \"steps\": 4}");
    assert_json(*state, "\"started_blocks\": [0, 1]");
    assert_json(*state, "\"completed_blocks\": [0]");
    assert_json(*state, "\"current_epoch\": 0");
    assert_json(*state, "\"blocks_this_epoch\": [0, 1]");
    assert_json(*state, "\"total_blocks_in_dataset\": 3");
    assert_json(*state, "\"total_steps\": 10");
    assert_json(*state, "{\"block_id\": 1, \"chunk_id\": 1, \"gpu_id\": 9, \"timestamp\": ");
    aios_chunk_claim c = claim_as(t, "w", 0, 0);
    complete(t, &c); /* no checkpoint holds it: the file must not say that it is done */
    aios_chunk_tracker_close(t);
    assert_json(*state, "\"completed_blocks\": [0]");
    assert_json(*state, "\"completed\": [[0, 28]]");
}

static void what_is_exported_is_imported_exactly(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45), plain = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    o.brain_id = "b";
    o.dataset_identity = "0123";
    aios_chunk_tracker *t = open_tracker(&o);
    for (int i = 0; i < 9; i++) {
        aios_chunk_claim c = claim_as(t, "w", i % 2, AIOS_CHUNK_EVERY);
        complete(t, &c);
    }
    aios_chunk_claim c = claim_as(t, "w", 0, AIOS_CHUNK_EVERY);
    assert_ok(aios_chunk_tracker_release(t, c.token, 1, 1, 1));
    (void)save(t);
    aios_chunk_tracker_close(t);
    char *before = read_json(*state);
    assert_ok(os_remove(test_path(*state, "chunk_tracker.sqlite")));
    plain.folder = *state;
    t = open_tracker(&plain);
    assert_string_equal(info_of(t).brain_id, "b");
    assert_int_equal(info_of(t).committed, 1);
    assert_int_equal(info_of(t).epochs, 2);
    assert_true(progress_of(t, 0).complete);
    assert_ok(aios_chunk_tracker_export(t, NULL));
    char *after = read_json(*state);
    assert_string_equal(before, after);
    assert_claim(claim_as(t, "w", 0, AIOS_CHUNK_EVERY), 1, 0, 2, 17, 20);
    assert_ok(aios_chunk_tracker_resume(t, 1));
    assert_fails(aios_chunk_tracker_resume(t, 0), AIOS_OUT_OF_RANGE, "forgotten");
    aios_chunk_tracker_close(t);
    aios_memory_free(context, before);
    aios_memory_free(context, after);
}

static void a_stream_is_exported_and_imported_too(void **state)
{
    aios_chunk_tracker_options o = small(*state, 0);
    aios_chunk_tracker *t = open_tracker(&o);
    for (int i = 0; i < 2; i++) {
        aios_chunk_claim c = claim(t);
        complete(t, &c);
    }
    (void)save(t);
    aios_chunk_tracker_close(t);
    assert_json(*state, "\"total_blocks_in_dataset\": null");
    assert_ok(os_remove(test_path(*state, "chunk_tracker.sqlite")));
    t = open_tracker(&o);
    assert_int_equal(info_of(t).total_samples, 0);
    assert_claim(claim(t), 0, 0, 2, 16, 20);
    aios_chunk_tracker_close(t);
}

static void the_json_lists_the_chunks_of_unfinished_blocks_alone_where_there_are_many(void **state)
{
    aios_chunk_tracker_options o = small(*state, 1000000);
    o.block_samples = 1000000;
    o.chunk_samples = 999950;
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim c = claim_as(t, "w", 2, 0);
    complete(t, &c);
    (void)save(t);
    aios_chunk_tracker_close(t);
    o = small(*state, 1000000); /* now it is 149,994 chunks that are done, one of them in block 49,997 */
    t = open_tracker(&o);
    assert_int_equal(progress_of(t, 0).chunks_committed, 49997 * 3 + 1);
    assert_int_equal(progress_of(t, 0).blocks_committed, 49997);
    aios_chunk_tracker_close(t);
    assert_json(
        *state,
        "\"completed_chunks\": [\n    {\"block_id\": 49997, \"chunk_id\": 0, \"gpu_id\": 2, \"optimizer_step\": 10, \"steps\": 0}\n  ]");
    assert_json(*state, "49995, 49996]");
    assert_json(*state, "49995, 49996, 49997]");
    assert_json(*state, "\"completed\": [[0, 999950]]");
    o.block_samples = 1000000; /* and if even those are too many, the first of them */
    aios_chunk_tracker_close(open_tracker(&o));
    assert_json(*state, "\"chunk_id\": 19999, \"gpu_id\": 2, \"optimizer_step\": 10, \"steps\": 0}\n  ]");
}

static int warnings;

static void count_warning(void *user, int32_t level, const char *message)
{
    (void)user;
    warnings += level == AIOS_LOG_WARNING && strstr(message, "chunk_tracker_state.json is not up to date") != NULL;
}

static void a_json_file_that_cant_be_written_does_not_undo_the_commit(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *listening;
    aios_chunk_tracker *t;
    options.log = count_warning;
    assert_ok(aios_context_create(&options, &listening));
    assert_ok(aios_chunk_tracker_open(listening, &o, &t));
    assert_ok(os_folder_create(test_path(*state, "chunk_tracker_state.json/in the way")));
    aios_chunk_claim c = claim(t);
    complete(t, &c);
    assert_int_equal(warnings, 0);
    (void)save(t);
    assert_int_equal(warnings, 1);
    assert_int_equal(progress_of(t, 0).committed, 8);
    assert_fails(aios_chunk_tracker_export(t, NULL), AIOS_IO, "chunk_tracker_state.json");
    assert_int_equal(test_folder_count(listening, *state), 5); /* database, log, index, lock, the folder: nothing temporary */
    aios_chunk_tracker_close(t);
    aios_context_destroy(listening);
}

static void earlier_files_are_imported_in_old_spellings(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_share share = AIOS_CHUNK_SHARE_INIT;
    write_json(*state,
               "{\"brain_id\": \"old\", \"dataset_name\": \"d\", \"completed_chunks\": ["
               "{\"block_id\": 0, \"chunk_id\": 0, \"gpu_id\": 1, \"step\": 7, \"samples_trained\": 3},"
               "{\"block_id\": 0, \"chunk_id\": 0, \"gpu_id\": 0, \"step\": 8, \"samples_trained\": 4},"
               "{\"block_id\": 2, \"chunk_id\": 0, \"gpu_id\": 1, \"optimizer_step\": 9, \"true_steps\": 5}],"
               "\"started_blocks\": [0, 1, 2], \"completed_blocks\": [0, 1, 2], \"current_epoch\": 0, \"blocks_this_epoch\": [0, 2],"
               "\"total_blocks_in_dataset\": 3, \"total_true_steps\": 20, \"in_progress_chunks\": [{\"block_id\": 1, \"chunk_id\": 0,"
               "\"gpu_id\": 0, \"timestamp\": 1700000000.5}]}");
    aios_chunk_tracker *t = open_tracker(&o);
    assert_string_equal(info_of(t).brain_id, "old");
    assert_int_equal(progress_of(t, 0).committed, 13); /* a block is complete by its chunks alone */
    assert_int_equal(info_of(t).steps, 20);
    assert_ok(aios_chunk_tracker_get_share(t, 0, 0, &share));
    assert_int_equal(share.gpu_id, 1);
    assert_int_equal(share.committed, 13);
    assert_ok(aios_chunk_tracker_resume(t, 0)); /* no checkpoint of theirs has a number */
    assert_claim(claim(t), 0, 0, 1, 8, 16);
    aios_chunk_tracker_close(t);
    assert_json(*state, "{\"block_id\": 2, \"chunk_id\": 0, \"gpu_id\": 1, \"optimizer_step\": 9, \"steps\": 5}");
    assert_json(*state, "\"completed_blocks\": [2]");
}

static void a_second_epoch_of_an_earlier_file_is_trained(void **state)
{
    aios_chunk_tracker_options o = small(*state, 40);
    write_json(*state, "{\"completed_chunks\": [{\"block_id\": 0, \"chunk_id\": 0}, {\"block_id\": 1, \"chunk_id\": 0}],"
                       "\"current_epoch\": 1, \"blocks_this_epoch\": [1], \"total_samples_trained\": 3}");
    aios_chunk_tracker *t = open_tracker(&o);
    assert_int_equal(info_of(t).current_epoch, 1);
    assert_int_equal(progress_of(t, 1).committed, 8);
    assert_claim(claim_as(t, "", 0, 1), 1, 0, 0, 0, 8);
    aios_chunk_tracker_close(t);
}

static void a_damaged_json_is_an_error_and_stays(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "chunk_tracker_state.json"},
        {"{\"completed_chunks\": [{\"block_id\": 0, \"chu", "chunk_tracker_state.json:1:"},
        {"[]", "chunk_tracker_state.json"},
        {"{}", "neither completed_chunks nor current_epoch"},
        {"{\"completed_chunks\": 3}", "completed_chunks"},
        {"{\"completed_chunks\": [3]}", "completed_chunks[0]"},
        {"{\"completed_chunks\": [{\"block_id\": 0}]}", "chunk_id"},
        {"{\"completed_chunks\": [{\"block_id\": -1, \"chunk_id\": 0}]}", "block_id"},
        {"{\"completed_chunks\": [{\"block_id\": 0, \"chunk_id\": 3}]}", "a block of 20 samples has 3 chunks of 8"},
        {"{\"completed_chunks\": [], \"libaios\": 4}", "libaios"},
        {"{\"current_epoch\": 0, \"libaios\": {\"version\": 1, \"block_samples\": 20, \"chunk_samples\": 8, \"checkpoint\": 0, \"epochs\": "
         "1,"
         "\"total_samples\": 45, \"epochs_open\": [{\"epoch\": 0, \"completed\": [[8, 46]]}]}}",
         "completed[0]"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        aios_chunk_tracker_options o = small(*state, 45);
        aios_chunk_tracker *t;
        write_json(*state, cases[i].text);
        assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_CORRUPT, cases[i].part);
        assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_CORRUPT, cases[i].part); /* and is not reset by having failed */
        char *text = read_json(*state);
        assert_string_equal(text, cases[i].text);
        aios_memory_free(context, text);
    }
    write_json(*state, "{\"current_epoch\": 0, \"libaios\": {\"version\": 2}}");
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t;
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_UNSUPPORTED, "version 2");
    write_json(*state, "{");
    o.recover = 1;
    t = open_tracker(&o);
    aios_chunk_tracker_close(t);
    assert_int_equal(os_path_kind(test_path(*state, "chunk_tracker_state.json.damaged-1")), OS_FILE);
}

/* ---- the database ------------------------------------------------------------------------------------------------ */

static void fill_tracker(const char *folder)
{
    aios_chunk_tracker_options o = small(folder, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim c = claim(t);
    complete(t, &c);
    (void)save(t);
    aios_chunk_tracker_close(t);
}

static void a_damaged_database_is_an_error_and_stays(void **state)
{
    static const struct {
        size_t keep; /* bytes of it */
        int at;      /* from here on it is overwritten; -1: not */
    } cases[] = {{0, -1}, {100, -1}, {5000, -1}, {SIZE_MAX, 0}, {SIZE_MAX, 4096}, {SIZE_MAX, 8192}};
    char path[TEST_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/chunk_tracker.sqlite", (char *)*state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        aios_chunk_tracker_options o = small(*state, 45);
        aios_chunk_tracker *t;
        char *bytes, *after, aside[64];
        size_t size, left;
        fill_tracker(*state);
        assert_ok(os_file_read_all(context, path, UINT64_MAX, &bytes, &size));
        if (cases[i].at >= 0) memset(bytes + cases[i].at, 0xa5, 1000);
        if (cases[i].keep < size) size = cases[i].keep;
        test_file_write(path, bytes, size);
        aios_status status = aios_chunk_tracker_open(context, &o, &t);
        if (status != AIOS_CORRUPT) fail_msg("case %d: %s: %s", (int)i, aios_status_name(status), aios_error_message());
        assert_non_null(strstr(aios_error_message(), "chunk_tracker.sqlite"));
        assert_non_null(strstr(aios_error_message(), "recover"));
        assert_ok(os_file_read_all(context, path, UINT64_MAX, &after, &left));
        assert_int_equal(left, size);
        assert_memory_equal(after, bytes, size);
        aios_memory_free(context, after);
        aios_memory_free(context, bytes);
        o.recover = 1; /* the JSON file knows what the last checkpoint held */
        t = open_tracker(&o);
        assert_int_equal(progress_of(t, 0).committed, 8);
        assert_int_equal(info_of(t).committed, 1);
        aios_chunk_tracker_close(t);
        (void)snprintf(aside, sizeof aside, "chunk_tracker.sqlite.damaged-%d", (int)i + 1);
        assert_int_equal(os_path_kind(test_path(*state, aside)), OS_FILE);
        assert_ok(os_remove(path));
        assert_ok(os_remove(test_path(*state, "chunk_tracker_state.json")));
    }
}

static void other_databases_and_newer_formats_are_refused(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t;
    sqlite3 *db;
    const char *path = test_path(*state, "chunk_tracker.sqlite");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE t (x)", NULL, NULL, NULL), SQLITE_OK);
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_CORRUPT, "no chunk tracker's database");
    assert_int_equal(sqlite3_exec(db, "PRAGMA application_id = 1634299763; PRAGMA user_version = 2", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_UNSUPPORTED, "has format 2: this libaios reads up to 1");
    assert_ok(os_remove(path));
    test_file_write(test_path(*state, "chunk_tracker.sqlite-wal"), "x", 1);
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_CORRUPT, "is missing, and its log");
}

static void another_dataset_is_refused(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t;
    o.dataset_identity = "aaaa";
    aios_chunk_tracker_close(open_tracker(&o));
    o.dataset_identity = "bbbb";
    o.dataset_name = "corpus"; /* of the same name, even */
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_INVALID_ARGUMENT, "identity aaaa");
    o.dataset_identity = "aaaa";
    o.total_samples = 46;
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_INVALID_ARGUMENT, "total_samples is 46");
    o.total_samples = 45;
    o.chunk_samples = 5; /* other chunks are fine: what was trained is known by sample */
    t = open_tracker(&o);
    assert_claim(claim(t), 0, 0, 0, 0, 5);
    aios_chunk_tracker_close(t);
}

static void wrong_options_are_named(void **state)
{
    aios_chunk_tracker_options good = small(*state, 45), o = good;
    aios_chunk_tracker *t;
    o.folder = "";
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_INVALID_ARGUMENT, "folder");
    o = good;
    o.chunk_samples = 21;
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_INVALID_ARGUMENT, "chunk_samples is 21");
    o = good;
    o.lease_seconds = 0;
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_INVALID_ARGUMENT, "lease_seconds is 0");
    o = good;
    o.durability = 2;
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_INVALID_ARGUMENT, "durability is 2");
    o = good;
    o.total_samples = UINT64_MAX;
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_INVALID_ARGUMENT, "total_samples");
    t = open_tracker(&good);
    aios_chunk_claim_options long_name = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim c = AIOS_CHUNK_CLAIM_INIT;
    char name[AIOS_CHUNK_NAME_MAX + 1];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    long_name.owner = name;
    assert_fails(aios_chunk_tracker_claim(t, &long_name, &c), AIOS_INVALID_ARGUMENT, "owner has 64 bytes");
    assert_fails(aios_chunk_tracker_claim(t, NULL, NULL), AIOS_INVALID_ARGUMENT, "must not be NULL");
    c.struct_size = 0;
    assert_fails(aios_chunk_tracker_claim(t, NULL, &c), AIOS_ABI_MISMATCH, "struct_size is 0");
    aios_chunk_tracker_close(t);
    aios_chunk_tracker_close(NULL);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, THREAD_CHUNKS = 600 };
static aios_chunk_tracker *shared_tracker;
static unsigned char taken[THREAD_CHUNKS];
static os_mutex taken_mutex = OS_MUTEX_INIT;

static void *take_chunks(void *user)
{
    char owner[16];
    (void)snprintf(owner, sizeof owner, "%d", *(int *)user);
    for (;;) {
        aios_chunk_claim c = claim_as(shared_tracker, owner, *(int *)user, 0);
        if (c.outcome == AIOS_CHUNK_FINISHED) return NULL;
        if (c.outcome == AIOS_CHUNK_WAIT) { /* whoever holds the rest needs the processor */
            os_sleep(c.wait_seconds);
            continue;
        }
        os_mutex_lock(&taken_mutex);
        taken[c.first / 8]++;
        os_mutex_unlock(&taken_mutex);
        assert_ok(aios_chunk_tracker_progress(shared_tracker, c.token, 4, 1, 1));
        complete(shared_tracker, &c);
    }
}

static void threads_share_a_tracker(void **state)
{
    aios_chunk_tracker_options o = small(*state, THREAD_CHUNKS * 8);
    os_thread threads[THREADS];
    int numbers[THREADS];
    o.block_samples = 80;
    shared_tracker = open_tracker(&o);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_ok(os_thread_start(&threads[i], "claims", take_chunks, &numbers[i]));
    }
    for (int i = 0; i < 20; i++) (void)save(shared_tracker);
    for (int i = 0; i < THREADS; i++) os_thread_join(threads[i]);
    for (int i = 0; i < THREAD_CHUNKS; i++) assert_int_equal(taken[i], 1);
    (void)save(shared_tracker);
    assert_int_equal(progress_of(shared_tracker, 0).blocks_committed, THREAD_CHUNKS / 10);
    aios_chunk_tracker_close(shared_tracker);
}

static int begin(void **state)
{
    (void)state;
    return aios_context_create(NULL, &context) != AIOS_OK;
}

static int end(void **state)
{
    (void)state;
    aios_context_destroy(context);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(claims_go_up_through_chunks_and_blocks),
        TEST(a_start_is_a_bound_in_every_epoch),
        TEST(a_released_chunk_goes_on_at_its_offset),
        TEST(reports_that_cant_be_are_refused),
        TEST(a_lease_that_passed_gives_the_chunk_to_another_and_fences_the_first),
        TEST(owners_of_another_boot_are_dead_and_those_out_of_sight_are_not),
        TEST(an_epoch_is_complete_when_every_chunk_of_every_block_is),
        TEST(iterating_rolls_and_trains_every_epoch_whole),
        TEST(the_next_epoch_begins_while_the_last_chunks_are_trained_but_not_the_one_after),
        TEST(a_total_may_become_known_late),
        TEST(completions_count_with_their_checkpoint_and_roll_back_without),
        TEST(what_was_sealed_and_not_committed_waits_for_resume),
        TEST(a_checkpoint_that_was_never_written_gives_its_samples_to_the_next),
        TEST(a_lost_worker_loses_what_nobody_shares),
        TEST(closing_gives_back_what_no_checkpoint_holds),
        TEST(forgetting_keeps_sums_and_refuses_what_it_can_no_longer_do),
        TEST(progress_is_told_per_epoch_block_device_and_claim),
        TEST(a_read_only_tracker_looks_and_changes_nothing),
        TEST(the_json_has_the_documented_layout),
        TEST(what_is_exported_is_imported_exactly),
        TEST(a_stream_is_exported_and_imported_too),
        TEST(the_json_lists_the_chunks_of_unfinished_blocks_alone_where_there_are_many),
        TEST(a_json_file_that_cant_be_written_does_not_undo_the_commit),
        TEST(earlier_files_are_imported_in_old_spellings),
        TEST(a_second_epoch_of_an_earlier_file_is_trained),
        TEST(a_damaged_json_is_an_error_and_stays),
        TEST(a_damaged_database_is_an_error_and_stays),
        TEST(other_databases_and_newer_formats_are_refused),
        TEST(another_dataset_is_refused),
        TEST(wrong_options_are_named),
        TEST(threads_share_a_tracker),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
