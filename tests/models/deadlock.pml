/* Two sides of a session that write to each other through sockets with small buffers: who waits for whom?

   A side reads, writes and consumes in tasks of its own. What it has to answer is a slot, not a queue: the newest PONG,
   the newest position, the newest limit. DATA and CREDIT are sequenced: each keeps a place in the log until it is
   acknowledged.
   Both sides begin with a log to replay, as after a break.

   Each -D below takes one rule away. README.md has the table; test_models.py runs all of them. */

#ifndef REPLAY
#define REPLAY 2           /* DATA in the log at the beginning */
#endif
#ifndef NEW
#define NEW 2              /* DATA that each side sends after those */
#endif
#ifndef LOG
#define LOG 2              /* places in the log */
#endif
#ifndef RESERVE
#define RESERVE 1          /* further places that only CREDIT may take */
#endif
#ifndef WINDOW
#define WINDOW 1           /* DATA that a side allows ahead of those that its application consumed */
#endif
#ifndef SOCKET
#define SOCKET 1           /* frames between the two in one direction */
#endif
#ifndef PINGS
#define PINGS 2            /* PINGs that each side sends */
#endif

#define PEER(side) (1 - side)
#define DATA_IN_ALL (REPLAY + NEW)

mtype = { DATA, CREDIT, PING, PONG, ACK };

chan socket[2] = [SOCKET] of { mtype, byte };  /* into that side */

typedef Side {
    byte replayed;
    byte sent = REPLAY;                        /* DATA, those to be replayed among them */
    byte sequenced = REPLAY;                   /* frames that took a place in the log */
    byte acknowledged;                         /* those that gave it back */
    byte limit = REPLAY;                       /* DATA that the peer allows */
    byte received;                             /* DATA */
    byte consumed;
    byte granted = REPLAY;                     /* DATA that it allowed the peer */
    byte position;                             /* sequenced frames received */
    byte told;
    byte pings;                                /* sent */
    bool ping_open;                            /* not answered yet */
    bool pong;                                 /* owes one */
    bool writing;                              /* a write waits for room */
}
Side at[2];

#define ALL_CONSUMED (at[0].consumed == DATA_IN_ALL && at[1].consumed == DATA_IN_ALL)

/* The rules, and what is left of each in the mutant without it. */

#define HAS_ROOM(side) (len(socket[PEER(side)]) < SOCKET)

#ifdef BLOCKING_WRITE                          /* a write begins without room, and nothing is read until it is over */
#define MAY_WRITE(side) true
#define READS(side) (!at[side].writing)
#else
#define MAY_WRITE(side) HAS_ROOM(side)
#if defined(READING_WAITS_FOR_SLOT)            /* the next frame is read when the answer to the last one is written */
#define READS(side) (!at[side].pong)
#elif defined(REPLAY_BEFORE_READING)
#define READS(side) (at[side].replayed == REPLAY)
#else
#define READS(side) true
#endif
#endif

#ifdef READER_WRITES                           /* the reader writes the answer, and waits for room to do so */
#define answer(side) put(side, PONG, 0)
#else
#define answer(side) at[side].pong = true
#endif

#ifdef REPLIES_IN_LINE                         /* behind DATA that waits for its credit or for a place in the log */
#define REPLIES(side) (MAY_WRITE(side) && (at[side].sent == DATA_IN_ALL || SENDS(side)))
#else
#define REPLIES(side) MAY_WRITE(side)
#endif

#ifdef ACK_SEQUENCED                           /* it takes a place in the log, which only another ACK gives back */
#define ACK_PLACES LOG
#define COUNTS(kind) (kind == DATA || kind == CREDIT || kind == ACK)
#else
#define ACK_PLACES 255
#define COUNTS(kind) (kind == DATA || kind == CREDIT)
#endif

/* What both sides do. */

#define TAKEN(side) (at[side].sequenced - at[side].acknowledged)
#define GRANT(side) (at[side].consumed + WINDOW < DATA_IN_ALL -> at[side].consumed + WINDOW : DATA_IN_ALL)
#define REPLAYS(side) (at[side].replayed < REPLAY)
#define SENDS(side) (at[side].sent < DATA_IN_ALL && at[side].sent < at[side].limit && TAKEN(side) < LOG)

inline put(side, kind, number) {
    at[side].writing = true;
    socket[PEER(side)]!kind, number;
    at[side].writing = false
}

inline put_sequenced(side, kind, number) {
    at[side].sequenced++;
    put(side, kind, number)
}

proctype Writer(bit side) {
end: do
    :: atomic { REPLIES(side) && at[side].pong -> at[side].pong = false; put(side, PONG, 0) }
    :: atomic { REPLIES(side) && at[side].told < at[side].position && TAKEN(side) < ACK_PLACES ->
        at[side].told = at[side].position;
#ifdef ACK_SEQUENCED
        put_sequenced(side, ACK, at[side].told) }
#else
        put(side, ACK, at[side].told) }
#endif
    :: atomic { REPLIES(side) && at[side].granted < GRANT(side) && TAKEN(side) < LOG + RESERVE ->
        at[side].granted = GRANT(side);
        put_sequenced(side, CREDIT, at[side].granted) }
    :: atomic { MAY_WRITE(side) && at[side].pings < PINGS && !at[side].ping_open ->
        at[side].pings++;
        at[side].ping_open = true;
        put(side, PING, 0) }
    :: atomic { MAY_WRITE(side) && REPLAYS(side) -> at[side].replayed++; put(side, DATA, 0) }
    :: atomic { MAY_WRITE(side) && !REPLAYS(side) && SENDS(side) -> at[side].sent++; put_sequenced(side, DATA, 0) }
    od
}

proctype Reader(bit side) {
    mtype kind;
    byte number;
end: do
    :: atomic { len(socket[side]) > 0 && READS(side) ->
        socket[side]?kind, number;
        if
        :: COUNTS(kind) -> at[side].position++
        :: else
        fi;
        if
        :: kind == DATA ->
            assert(at[side].received < at[side].granted);
            at[side].received++
        :: kind == CREDIT ->
            assert(number >= at[side].limit);
            at[side].limit = number
        :: kind == PING -> answer(side)
        :: kind == PONG -> at[side].ping_open = false
        :: kind == ACK ->
            assert(at[side].acknowledged <= number && number <= at[side].sequenced);
            at[side].acknowledged = number
        fi;
        kind = 0; number = 0 }
    od
}

proctype Application(bit side) {
end: do
    :: at[side].consumed < at[side].received -> at[side].consumed++
    od
}

proctype Arrival() {                           /* has no end label: to stop before that is an error */
    ALL_CONSUMED
}

ltl arrives { <> ALL_CONSUMED }

init {
    atomic {
        run Writer(0); run Reader(0); run Application(0);
        run Writer(1); run Reader(1); run Application(1);
        run Arrival()
    }
}
