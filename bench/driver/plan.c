/* The plan of the paced mode: message k of all is due k / rate seconds after the beginning, on connection k modulo the
 * number of connections. The server does not change the plan, so a stall shows in the latencies of all messages that
 * were due meanwhile (G. Tene's "coordinated omission"). */
#include "run.h"

static uint64_t instant(const struct run *run, uint64_t message)
{
    return run->plan_began_ns + (uint64_t)((double)message * 1e9 / run->options.rate);
}

/* The instant at which message `message` of this connection is due. Number 0 is the proof, which is not planned. */
uint64_t plan_instant(const struct run *run, const struct connection *connection, uint64_t message)
{
    return instant(run, (message - 1) * run->options.connections + connection->slot);
}

/* The instant at which the next message is due; UINT64_MAX when none is planned. */
uint64_t plan_next(const struct run *run)
{
    bool running = run->stage == STAGE_WARMUP || run->stage == STAGE_WINDOW;
    if (!running || run->options.role != ROLE_PACED)
        return UINT64_MAX;
    return instant(run, run->planned);
}

void plan_hand_out(struct run *run, uint64_t now)
{
    for (uint64_t due; (due = plan_next(run)) <= now; run->planned++) {
        struct connection *connection = &run->connections[run->planned % run->options.connections];
        if (connection->phase != PHASE_RUNNING)
            continue;
        histogram_record(&run->late, now_ns() - due);
        connection->due++;
        connection_pump(run, connection);
    }
}
