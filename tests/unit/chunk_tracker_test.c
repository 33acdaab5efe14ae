/* The chunk tracker: every sample of an epoch is claimed once, counts with the checkpoint that holds it, and nothing is lost between. */
#include "chunk_tracker.h"

#include <sqlite3.h>

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
        TEST(another_dataset_is_refused),
        TEST(wrong_options_are_named),
        TEST(threads_share_a_tracker),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
