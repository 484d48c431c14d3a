/* A session that survives broken connections: both directions, the fence, the handshake, positions, the replay log.

   Time is left out: whatever a timer could do may happen at any moment. So are bytes: a frame arrives whole or not.
   Frames carry a number here for the sake of the assertions alone; no decision of either side reads it.

   A connection is a pair of pipes. A break only marks it as dead: what is written to it from then on goes nowhere, what
   lies in its pipes may still be read, and what was not read when its reader leaves it was lost. That covers every
   place of the cut, a side that does not notice for a long time, and late bytes. An attempt that the client gave up
   lies in its pipe, and comes late or never.

   Each -D below takes one rule away. README.md has the table; test_models.py runs all of them. */

#ifndef TO_SERVER
#define TO_SERVER 3        /* frames that the client sends */
#endif
#ifndef TO_CLIENT
#define TO_CLIENT 3
#endif
#ifndef BREAKS
#define BREAKS 2
#endif
#ifndef LOG
#define LOG 2              /* frames that a side keeps until they are acknowledged */
#endif
#ifndef WINDOW
#define WINDOW 1           /* frames that a side allows ahead of those that it has received */
#endif
#ifndef PIPE
#define PIPE 2             /* messages on their way in one direction */
#endif
#ifndef COPIES
#define COPIES 1           /* RESUMEs that a stranger heard on the way and sends again on a connection of his own */
#endif

#define CONNECTIONS (1 + BREAKS + COPIES)      /* a copy that arrives first costs the client one more attempt */
#define STRANGER CONNECTIONS                   /* the connection of the stranger */
#define PLACES (CONNECTIONS + 1)
#define NONE 255

#define CLIENT 0
#define SERVER 1
#define PEER(side) (1 - side)
#define FRAMES(side) (side == CLIENT -> TO_SERVER : TO_CLIENT)
#define GRANT(side) (at[side].position + WINDOW < FRAMES(PEER(side)) -> at[side].position + WINDOW : FRAMES(PEER(side)))

mtype = { FRAME, ACK, LIMIT, RESUME, RESUME_OK, RESUME_CONFIRM };

chan pipe[2 * PLACES] = [PIPE] of { mtype, byte, byte };
#define INTO(side, k) pipe[(side) * PLACES + (k)]
bool dead[PLACES];

typedef Side {
    byte conn;             /* the connection it believes in */
    bool up = true;        /* the handshake on it is over */
    byte first;            /* sent frames that it released from its log: the peer has them */
    byte cursor;           /* sent frames that are written, or need not be, on this connection */
    byte next;             /* sent frames in all; the log holds those after `first` */
    byte position;         /* received frames, as the protocol counts them */
    byte told;             /* the position that the peer was told last */
    byte allowed;          /* frames that the peer allows in all, by a record that is not counted itself */
    byte announced;        /* frames that it allowed the peer, as said on this connection */
    byte delivered;        /* received frames, as the application counts them: the truth */
}
Side at[2];

byte tried;                /* client: the highest generation ever tried, which numbers its connections as well */
byte taken;                /* server: the highest generation ever taken */
bool proved;               /* server: a RESUME_CONFIRM proved that generation */
byte claimed;              /* server: the position that the RESUME of `at[SERVER].conn` named */

#define LIVE (at[CLIENT].up && at[SERVER].up && at[CLIENT].conn == at[SERVER].conn && !dead[at[CLIENT].conn])
#define ALL_ARRIVED (at[SERVER].delivered == TO_SERVER && at[CLIENT].delivered == TO_CLIENT)

/* The rules, and what is left of each in the mutant without it. */

#if defined(NO_FENCE)                          /* the server goes on reading connections that it replaced */
#define READS(side, k) (k == at[side].conn || side == SERVER)
#elif defined(NO_FENCE_CLIENT)
#define READS(side, k) (k == at[side].conn || side == CLIENT)
#else
#define READS(side, k) (k == at[side].conn)
#define FENCED
#endif

#ifdef EARLY_FRAMES                            /* sequenced frames go out between the break and the handshake's end */
#define WRITES(side) (at[side].conn != NONE)
#else
#define WRITES(side) at[side].up
#endif

#if defined(POSITION_LESS)
#define POSITION(side) (at[side].position - (at[side].position > 0))
#elif defined(POSITION_MORE)
#define POSITION(side) (at[side].position + 1)
#elif defined(POSITION_AS_TOLD)                /* the last acknowledgement that it wrote, not what it received since */
#define POSITION(side) at[side].told
#else
#define POSITION(side) at[side].position
#endif

#ifdef ACK_MORE
#define ACKNOWLEDGED(side) (at[side].position + 1)
#else
#define ACKNOWLEDGED(side) at[side].position
#endif

#ifdef RELEASE_MORE
#define RELEASED(number) (number + 1)
#else
#define RELEASED(number) number
#endif

#if defined(REWIND_TO_OWN_ACK)                 /* the last acknowledgement that arrived, not the peer's position */
#define REWIND(side, number) at[side].first
#elif defined(NO_REPLAY)
#define REWIND(side, number) at[side].next
#else
#define REWIND(side, number) number
#endif

#ifdef CUT_FRAME_COUNTS                        /* a frame of which only a part arrived counts as received */
#define count_cut(side) \
    if \
    :: INTO(side, at[side].conn)?[FRAME, _, _] -> at[side].position++ \
    :: else \
    fi
#else
#define count_cut(side) skip
#endif

#ifdef POSITION_BEFORE_FENCE                   /* read before the old connection ended, told after that */
byte noted;
#define before_fence() noted = at[SERVER].position
#define after_fence() fence()
#define ANSWER noted
#else
#define before_fence() fence()
#define after_fence() skip
#define ANSWER POSITION(SERVER)
#endif

#ifdef ANY_GENERATION                          /* every RESUME wins */
#define NEWER(generation) true
#else
#define NEWER(generation) (generation > taken)
#endif

#ifdef STALE_IS_FINAL                          /* also where nobody has proved the newer generation yet */
#define GIVES_UP true
#else
#define GIVES_UP proved
#endif

#ifdef STALE_CONTINUATION                      /* a RESUME that was verified goes on after a newer one was */
#define STILL_NEWEST(generation) true
#else
#define STILL_NEWEST(generation) (generation == taken)
#endif

#ifdef LIMIT_ONCE                              /* what was announced before a break is not announced again */
#define forget_limit(side) skip
#else
#define forget_limit(side) at[side].announced = 0
#endif

#ifdef NO_ACKS
#define ACKS false
#else
#define ACKS true
#endif

/* What both sides do. */

#define ROOM(side, k) (dead[k] || k == STRANGER || len(INTO(side, k)) < PIPE)

inline put(side, k, kind, number) {
    if
    :: k == STRANGER -> assert(kind == RESUME_OK)      /* nothing else is sent to a peer that proved nothing */
    :: k != STRANGER && dead[k] -> skip
    :: else -> INTO(side, k)!kind, number, 0
    fi
}

inline drain(side, k) {
    do
    :: len(INTO(side, k)) > 0 -> INTO(side, k)?_, _, _
    :: else -> break
    od
}

inline leave(side) {
    if
    :: at[side].conn == NONE
    :: else ->
        dead[at[side].conn] = true;
        count_cut(side);
#ifdef FENCED
        drain(side, at[side].conn)             /* late bytes are ignored: no need to wait for them */
#endif
    fi;
    at[side].up = false
}

inline deliver(side, number) {
    assert(number == at[side].delivered + 1);  /* nothing lost, doubled or reordered */
    at[side].delivered++;
    at[side].position++
}

inline release(side, number) {
    assert(number >= at[side].first);
    at[side].first = RELEASED(number);
    assert(at[side].first <= at[PEER(side)].delivered)
}

inline become_up(side, number) {
    assert(at[side].first <= number && number <= at[side].next);
    at[side].cursor = REWIND(side, number);
    release(side, number);
    forget_limit(side);
    at[side].up = true
}

#define REPLAYS(side) (at[side].cursor < at[side].next)
#define LOG_HAS_ROOM(side) (at[side].next - at[side].first < LOG)
#define SENDS(side) (at[side].next < FRAMES(side) && at[side].next < at[side].allowed && LOG_HAS_ROOM(side))
#define WRITABLE(side) (at[side].up && ROOM(PEER(side), at[side].conn))

proctype Writer(bit side) {
end: do
    :: d_step { WRITES(side) && ROOM(PEER(side), at[side].conn) && (REPLAYS(side) || SENDS(side)) ->
        at[side].cursor++;
        if
        :: at[side].cursor > at[side].next -> at[side].next = at[side].cursor
        :: else
        fi;
        put(PEER(side), at[side].conn, FRAME, at[side].cursor) }
    :: d_step { WRITABLE(side) && ACKS && at[side].told < at[side].position ->
        at[side].told = at[side].position;
        put(PEER(side), at[side].conn, ACK, ACKNOWLEDGED(side)) }
    :: d_step { WRITABLE(side) && at[side].announced < GRANT(side) ->
        at[side].announced = GRANT(side);
        put(PEER(side), at[side].conn, LIMIT, at[side].announced) }
    od
}

inline fence() {
    leave(SERVER);
    at[SERVER].conn = NONE
}

inline verify(k, generation, position) {
    if
    :: NEWER(generation) ->
        assert(!LIVE);                         /* no late attempt and no copy disturbs a session that works */
        taken = generation;
        proved = false;
        before_fence()
    :: else ->                                 /* refused: the client, if it still waits here, tries again */
        assert(!(k == at[CLIENT].conn && GIVES_UP));   /* no session is given up while both sides have it */
        dead[k] = true;
        generation = 0; position = 0
    fi
}

inline answer(k, generation, position) {
    if
    :: STILL_NEWEST(generation) ->
        after_fence();
        at[SERVER].conn = k;
        claimed = position;
        put(CLIENT, k, RESUME_OK, ANSWER);
        at[SERVER].told = at[SERVER].position;
#ifdef REPLAY_BEFORE_PROOF
        become_up(SERVER, claimed)
#endif
    :: else -> dead[k] = true
    fi
}

#define ATTEMPT(side, k) (INTO(side, k)?[RESUME, _, _])

proctype Reader(bit side; byte k) {
    mtype kind;
    byte number, position;
end: do
    :: d_step { len(INTO(side, k)) > 0 && READS(side, k) && !ATTEMPT(side, k) ->
        INTO(side, k)?kind, number, position;
        if
        :: kind == FRAME -> deliver(side, number)
        :: kind == ACK ->
            assert(number <= at[side].cursor);     /* never acknowledges the unsent */
            release(side, number)
        :: kind == LIMIT ->
            assert(number >= at[side].allowed);
            at[side].allowed = number
        :: kind == RESUME_OK ->
            become_up(CLIENT, number);
            put(SERVER, k, RESUME_CONFIRM, 0)
        :: kind == RESUME_CONFIRM ->
            proved = true;
#ifndef REPLAY_BEFORE_PROOF
            become_up(SERVER, claimed)
#endif
        fi;
        kind = 0; number = 0 }
    :: d_step { ATTEMPT(side, k) ->
        INTO(side, k)?_, number, position;
        verify(k, number, position) }
    :: d_step { number > 0 ->                  /* the old connection is gone; meanwhile anything may have happened */
        answer(k, number, position);
        number = 0; position = 0 }
    od
}

proctype Parking() {
end: do
    :: d_step { at[SERVER].conn != NONE && dead[at[SERVER].conn] -> fence() }
    od
}

/* The client. */

proctype Connector() {
end: do
    :: d_step { dead[at[CLIENT].conn] ->
        leave(CLIENT);
        tried++;
        at[CLIENT].conn = tried;
        INTO(SERVER, tried)!RESUME, tried, POSITION(CLIENT);
        at[CLIENT].told = at[CLIENT].position }
    od
}

/* What is between them. */

proctype Network() {
    byte breaks;
end: do
    :: d_step { breaks < BREAKS && !dead[at[CLIENT].conn] -> breaks++; dead[at[CLIENT].conn] = true }
    od
}

proctype Stranger() {
    byte copies, generation, position;
end: do
    :: d_step { copies < COPIES && generation != tried && !at[CLIENT].up -> /* hears the newest RESUME */
        generation = tried; position = POSITION(CLIENT) }
    :: d_step { copies < COPIES && generation > 0 ->
        copies++; INTO(SERVER, STRANGER)!RESUME, generation, position; generation = 0; position = 0 }
    od
}

proctype Arrival() {                           /* has no end label: to stop before everything has arrived is an error */
    ALL_ARRIVED
}

ltl arrives { <> ALL_ARRIVED }

init {
    byte k;
    atomic {
        for (k : 0 .. CONNECTIONS - 1) {
            run Reader(CLIENT, k);
            run Reader(SERVER, k)
        }
        run Reader(SERVER, STRANGER);
        k = 0;
        run Writer(CLIENT);
        run Writer(SERVER);
        run Parking();
        run Connector();
        run Network();
        run Stranger();
        run Arrival()
    }
}
