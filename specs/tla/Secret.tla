------------------------------- MODULE Secret -------------------------------
(***************************************************************************)
(* One secret, or one register of any kind, kept by n nodes: the protocol  *)
(* of specs/protocol.md at the granularity of its messages (PROTO-1 to     *)
(* PROTO-13, PROTO-15 to PROTO-17).  Operators bear the names of the code  *)
(* they mirror: Keep, Standing, Judge, Lineage, Settleable; messages and   *)
(* fields are those of model/message.py and model/record.py.               *)
(*                                                                         *)
(* How the network is modelled.  A message once sent stays in `sent` and   *)
(* may be taken by any node at any time, again and again: late, doubled,   *)
(* reordered.  A lost message is one that nobody ever takes.  A crashed    *)
(* coordinator is one that takes no further step.                          *)
(*                                                                         *)
(* What is joined into one step, and why nothing is lost by it:            *)
(*  - a node's vote and its sender's hearing of it; likewise a query: only *)
(*    the moment at which the node takes the message matters to others;    *)
(*  - the last vote, the judging and the sending of writes: a message sent *)
(*    early can be taken late;                                             *)
(*  - the W-th acceptance and the answer to the client: being answered     *)
(*    earlier only demands more of those who come after;                   *)
(*  - the beginning of an operation and its first answer: beginning later  *)
(*    only demands more of it.                                             *)
(* A vote whose reply is lost is left out: a promise that nobody counts    *)
(* only makes a node refuse more, as if messages to it had been lost.      *)
(* Leases are left out: no rule rests on them.  A ballot is a number; the  *)
(* coordinator of ballot b is b modulo the number of writers.              *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, Sequences, TLC

CONSTANTS
  Nodes,        \* the n nodes of the placement
  Threshold,    \* k
  Verbs,        \* what each writer wants: a sequence of create, update, delete, settle
  Kinds,        \* what each reader wants: a sequence of latest, history, survey
  Begin,        \* "absent", or with a first version: "whole", all nodes hold it and know it to be chosen; "missing", all but one do;
                \* "partial", W nodes or more hold it, and some of them, or none, know
  LastBallot,   \* ballots run from 1 (the first version's, if any) to this
  LossLimit,    \* how many disks may be lost
  Broken        \* rules switched off, {} for the protocol as it is

VARIABLES
  register,     \* per node: promised, floor, erased, records (tag -> ballot, chosen, share, hearsay)
  store,        \* per node: serving, and how many disks it has lost
  header,       \* per tag: the record's header, the same everywhere
  sent,         \* every Write, Confirm, Void, Erase, Repair ever sent
  accepted,     \* every Accepted ever answered: ballot, tag, node
  gone,         \* every Erased ever answered: tag, node
  proposal,     \* per writer
  reading,      \* per reader
  recovery      \* per node without its disk: its fence, who promised it, their answers

vars == <<register, store, header, sent, accepted, gone, proposal, reading, recovery>>

-----------------------------------------------------------------------------
Max(set) == CHOOSE x \in set : \A y \in set : y <= x

N == Cardinality(Nodes)
K == Threshold
ReadQuorum == K                                                       \* PROTO-1
WriteQuorum == Max({K, N - K + 1}) - (IF "quorum" \in Broken THEN 1 ELSE 0)

Live == Begin # "absent"
Writers == 1..Len(Verbs)
Readers == 1..Len(Kinds)
Tags == 1..LastBallot
Ballots == 1..(LastBallot + Len(Kinds))                                \* only a broken reader uses the last ones
Own(p) == {b \in (IF Live THEN 2 ELSE 1)..LastBallot : (b % Len(Verbs)) + 1 = p}
Symmetry == Permutations(Nodes)

None == 0                                                             \* no tag; ZERO of model/record.py
Nothing == [t \in {} |-> None]                                        \* the empty function
Unused == [kind |-> "unused", incarnation |-> None, sequence |-> 0, version |-> 0, base |-> None, doubts |-> <<>>]

Range(seq) == {seq[i] : i \in DOMAIN seq}
NamesAncestor(t, older) == older <= header[t].base \/ older \in Range(header[t].doubts)
NeedsShares(t) == header[t].kind = "value"
IsCreate(t) == header[t].incarnation = t

RECURSIVE Chain(_)
Chain(t) == IF t = None THEN {} ELSE {t} \union Range(header[t].doubts) \union Chain(header[t].base)

-----------------------------------------------------------------------------
(* A node: model/participant.py *)

Restrict(f, set) == [x \in (DOMAIN f) \intersect set |-> f[x]]

Keep(r, t, held) ==                                                   \* PROTO-5
  LET erased == IF IsCreate(t) THEN Max({r.erased, header[t].base}) ELSE r.erased
      Stays(o) == /\ o # t
                  /\ o >= erased
                  /\ o < t => NamesAncestor(t, o) /\ header[o].sequence < header[t].sequence
                  /\ o > t /\ held.chosen => NamesAncestor(o, t)
      kept == {o \in DOMAIN r.records : Stays(o)}
      Mark(o) == IF o = header[t].base THEN [r.records[o] EXCEPT !.chosen = TRUE] ELSE r.records[o]
  IN [r EXCEPT !.erased = erased, !.records = [o \in kept \union {t} |-> IF o = t THEN held ELSE Mark(o)]]

Snapshot(n, everything) ==                                            \* PROTO-4, PROTO-6
  LET records == register[n].records
      marks == {t \in DOMAIN records : records[t].chosen}
      Below(t, m) == \/ header[t].sequence < header[m].sequence
                     \/ header[t].sequence = header[m].sequence /\ t < m
      shown == {t \in DOMAIN records : everything \/ \A m \in marks : ~Below(t, m)}
  IN [erased |-> register[n].erased, views |-> Restrict(records, shown)]

MayAccept(n, b, t) ==
  LET r == register[n] IN
  /\ store[n].serving
  /\ b >= r.promised \/ "fencing" \in Broken
  /\ b > r.floor
  /\ t >= r.erased
  /\ \A o \in DOMAIN r.records : r.records[o].chosen => o <= t

AfterWrite(r, b, t) ==
  LET before == t \in DOMAIN r.records /\ r.records[t].chosen
      held == [ballot |-> b, chosen |-> before, share |-> NeedsShares(t), hearsay |-> FALSE]
  IN Keep([r EXCEPT !.promised = Max({b, @}), !.records = Restrict(@, 1..(t - 1))], t, held)

AfterConfirm(r, t) ==
  IF t \in DOMAIN r.records /\ ~r.records[t].chosen
  THEN Keep(r, t, [r.records[t] EXCEPT !.chosen = TRUE])
  ELSE r

AfterVoid(r, b, tags) ==                                               \* PROTO-6: what lies below a mark stays
  LET marked == Max({None} \union {o \in DOMAIN r.records : r.records[o].chosen})
      Dead(t) == t \in tags /\ t > marked /\ r.records[t].ballot < b
  IN [r EXCEPT !.records = Restrict(@, {t \in DOMAIN r.records : ~Dead(t)})]

AfterErase(r, t) ==                                                   \* PROTO-8
  LET held == IF t \in DOMAIN r.records THEN [r.records[t] EXCEPT !.chosen = TRUE]
              ELSE [ballot |-> None, chosen |-> TRUE, share |-> FALSE, hearsay |-> FALSE]
      left == {o \in DOMAIN r.records : o > t}
  IN IF r.erased >= t THEN r
     ELSE Keep([r EXCEPT !.promised = Max({@, t}), !.erased = t, !.records = Restrict(@, left)], t, held)

AfterRepair(r, t, share) ==                                           \* PROTO-7
  LET before == t \in DOMAIN r.records
      whole == before /\ (r.records[t].share \/ ~NeedsShares(t))
      ballot == IF "repair" \in Broken THEN Max({r.promised, t}) ELSE IF before THEN r.records[t].ballot ELSE None
  IN IF t < r.erased /\ "erased" \notin Broken THEN r
     ELSE IF before /\ (whole \/ (NeedsShares(t) /\ ~share)) THEN AfterConfirm(r, t)
     ELSE Keep(r, t, [ballot |-> ballot, chosen |-> TRUE, share |-> share, hearsay |-> FALSE])

-----------------------------------------------------------------------------
(* Judging: model/judging.py.  `answers` maps nodes to snapshots.           *)

Shown(answers) == UNION {DOMAIN answers[n].views : n \in DOMAIN answers}
Holders(answers, t) == {n \in DOMAIN answers : t \in DOMAIN answers[n].views}
Under(answers, t, b) == {n \in Holders(answers, t) : answers[n].views[t].ballot = b /\ ~answers[n].views[t].hearsay}
Counted(answers) == {t \in Shown(answers) : \E b \in Ballots : Cardinality(Under(answers, t, b)) >= WriteQuorum}
Proven(answers) ==
  {t \in Shown(answers) : \E n \in Holders(answers, t) : answers[n].views[t].chosen}
    \union ({header[t].base : t \in Shown(answers)} \ {None})
    \union (IF "counted" \in Broken THEN {} ELSE Counted(answers))
NewestMark(snapshot) == Max({None} \union {t \in DOMAIN snapshot.views : snapshot.views[t].chosen})

Contradicted(proven, shown, t) ==
  \/ t \in shown /\ \E q \in proven : q < t /\ ~NamesAncestor(t, q)
  \/ \E q \in proven \intersect shown : q > t /\ ~NamesAncestor(q, t)

Standing(answers, t, voted) ==                                        \* PROTO-9
  LET holders == Holders(answers, t)
      shown == Shown(answers)
      proven == Proven(answers)
      below == \E q \in proven \intersect shown : t \in Range(header[q].doubts)
      without == {n \in (DOMAIN answers) \ holders :
                    answers[n].erased <= t /\ (~below \/ voted \/ NewestMark(answers[n]) > t)}
      acceptors == {n \in holders : answers[n].views[t].ballot # None /\ ~answers[n].views[t].hearsay}
      keepers == {n \in acceptors : NewestMark(answers[n]) > t}           \* no late Void empties these
      mixed == \/ below /\ Cardinality(keepers) >= WriteQuorum
               \/ "ballots" \in Broken /\ Cardinality(acceptors) >= WriteQuorum
  IN IF t \in proven THEN "chosen"
     ELSE IF Contradicted(proven, shown, t) THEN "void"
     ELSE IF N - Cardinality(without) < WriteQuorum THEN "void"
     ELSE IF mixed \/ t \in Counted(answers) THEN "chosen"
     ELSE "doubt"

Ancestry(t) == <<t>> \o header[t].doubts \o (IF header[t].base = None THEN <<>> ELSE <<header[t].base>>)

Start(answers) ==
  LET newest == Max({None} \union Proven(answers))
      tops == {t \in Shown(answers) : t = newest \/ (t > newest /\ (newest = None \/ NamesAncestor(t, newest)))}
      Rank(t) == Max({answers[n].views[t].ballot : n \in Holders(answers, t)})
  IN IF tops = {} THEN None
     ELSE CHOOSE t \in tops : \A o \in tops : Rank(o) < Rank(t) \/ (Rank(o) = Rank(t) /\ o <= t)

Judge(answers, voted) ==                                              \* PROTO-10
  LET start == Start(answers)
      line == IF start = None THEN <<>> ELSE Ancestry(start)
      standing == [i \in DOMAIN line |-> Standing(answers, line[i], voted)]
      ends == {i \in DOMAIN line : standing[i] = "chosen"}
      end == IF ends = {} THEN Len(line) + 1 ELSE CHOOSE i \in ends : \A j \in ends : i <= j
      found == IF ends = {} THEN None ELSE line[end]
      above == SubSeq(line, 1, end - 1)
      Undecided(t) == \E i \in 1..(end - 1) : line[i] = t /\ standing[i] = "doubt"
      unseen == found # None /\ found \notin Shown(answers)
  IN [head |-> IF unseen THEN None ELSE found,
      doubts |-> SelectSeq(above, Undecided) \o (IF unseen THEN <<found>> ELSE <<>>),
      void |-> {t \in Range(above) : ~Undecided(t)},
      sequence |-> Max({0} \union {header[t].sequence : t \in Shown(answers)}) + 1]

RECURSIVE Lineage(_, _)
Lineage(answers, t) ==
  \* The chosen records from t down to the create of its incarnation, or {None} if that cannot be told.
  IF IsCreate(t) THEN {t}
  ELSE LET line == Tail(Ancestry(t))
           last == {i \in DOMAIN line : Standing(answers, line[i], FALSE) # "void"}
           next == line[CHOOSE i \in last : \A j \in last : i <= j]
       IN IF last = {} \/ Standing(answers, next, FALSE) # "chosen" \/ next \notin Shown(answers) THEN {None}
          ELSE {t} \union Lineage(answers, next)

Shares(answers, t) == Cardinality({n \in Holders(answers, t) : answers[n].views[t].share})
Settleable(answers, t) == t \in Shown(answers) /\ (NeedsShares(t) => Shares(answers, t) >= K)

-----------------------------------------------------------------------------
(* Who was told what.  `known` is what clients have seen so far.            *)

Written(b, t) == Cardinality({a.node : a \in {x \in accepted : x.ballot = b /\ x.tag = t}}) >= WriteQuorum

Known ==
  ({proposal[p].shown : p \in Writers} \union {reading[r].shown : r \in Readers}) \ {None}

Overlooked(before, t) == before \ Chain(t)

-----------------------------------------------------------------------------
(* The coordinator of a write: model/proposal.py, deciding.py, drafting.py  *)

Send(messages) == sent' = sent \union messages

NewHeader(p, b, j) ==
  LET verb == Verbs[p]
      fresh == verb = "create"
      below == IF j.doubts # <<>> THEN header[Head(j.doubts)].version ELSE IF fresh THEN 0 ELSE header[j.head].version
  IN [kind |-> IF verb = "delete" THEN "tombstone" ELSE "value",
      incarnation |-> IF fresh THEN b ELSE header[j.head].incarnation,
      sequence |-> j.sequence,
      version |-> IF verb = "delete" THEN below ELSE below + 1,
      base |-> j.head,
      doubts |-> j.doubts]

Fail(p, q, outcome, shown) ==
  [q EXCEPT !.phase = "done", !.outcome = outcome, !.answers = Nothing, !.shown = shown,
            !.before = IF outcome \in {"voting_failed", "settled"} THEN {} ELSE Overlooked(@, shown)]

Decide(p, q, answers) ==
  LET j == Judge(answers, TRUE)
      b == q.ballot
      verb == Verbs[p]
      live == j.head # None /\ header[j.head].kind = "value"
      void == IF j.void = {} THEN {} ELSE {[type |-> "void", ballot |-> b, tags |-> j.void]}
      Write(t) == [type |-> "write", ballot |-> b, tag |-> t]
      Done(outcome, shown) == /\ proposal' = [proposal EXCEPT ![p] = Fail(p, q, outcome, shown)]
                              /\ Send(void)
                              /\ UNCHANGED header
  IN IF j.doubts # <<>> /\ Settleable(answers, Head(j.doubts))
     THEN /\ proposal' = [proposal EXCEPT ![p] = [q EXCEPT !.phase = "settling", !.answers = Nothing, !.cut = Head(j.doubts)]]
          /\ Send({Write(Head(j.doubts))})
          /\ UNCHANGED header
     ELSE IF verb = "settle" THEN Done("settled", None)
     ELSE IF verb = "create" /\ live THEN Done("secret_exists", j.head)
     ELSE IF j.doubts # <<>> /\ ~live THEN Done("voting_failed", None)
     ELSE IF verb # "create" /\ ~live THEN Done("secret_not_found", j.head)
     ELSE /\ header' = [header EXCEPT ![b] = NewHeader(p, b, j)]
          /\ proposal' = [proposal EXCEPT ![p] = [q EXCEPT !.phase = "writing", !.answers = Nothing, !.cut = b]]
          /\ Send(void \union {Write(b)} \union
                  (IF verb = "delete" /\ "erase" \in Broken THEN {[type |-> "erase", tag |-> b]} ELSE {}))

Vote(p, b, n) ==                                                      \* PROTO-4, PROTO-11
  LET q == proposal[p]
      first == q.ballot = 0
      snapshot == Snapshot(n, Verbs[p] = "delete")
      heard == IF b = q.ballot THEN q.answers ELSE Nothing
      answers == (n :> snapshot) @@ heard
      asked == [q EXCEPT !.phase = "voting", !.ballot = b, !.answers = answers, !.cut = None, !.before = IF first THEN Known ELSE @]
  IN /\ q.phase \in {"voting", "settling"}                               \* one that cannot settle gives way to a higher ballot
     /\ b > q.ballot \/ (b = q.ballot /\ q.answers # Nothing)
     /\ n \notin DOMAIN heard
     /\ store[n].serving
     /\ b > register[n].promised /\ b > register[n].floor
     /\ register' = [register EXCEPT ![n].promised = b]
     /\ \/ /\ Cardinality(DOMAIN answers) < N
           /\ proposal' = [proposal EXCEPT ![p] = asked]
           /\ UNCHANGED <<header, sent>>
        \/ /\ Cardinality(DOMAIN answers) >= WriteQuorum
           /\ Decide(p, asked, answers)
     /\ UNCHANGED <<store, accepted, gone, reading, recovery>>

AfterChosen(p, b, t) ==
  \* What a coordinator does when the W-th acceptance of its write comes in.
  LET q == proposal[p] IN
  IF ~(q.phase \in {"writing", "settling"} /\ q.ballot = b /\ q.cut = t) THEN q
  ELSE IF q.phase = "settling" THEN [q EXCEPT !.phase = "voting", !.cut = None]
  ELSE IF header[t].kind = "tombstone" THEN [q EXCEPT !.phase = "erasing"]
  ELSE [q EXCEPT !.phase = "done", !.outcome = "written", !.shown = t, !.before = Overlooked(@, t)]

TakeWrite(n, m) ==                                                    \* PROTO-5
  LET b == m.ballot
      t == m.tag
      waits == \E p \in Writers : proposal[p].phase \in {"writing", "settling"} /\ proposal[p].ballot = b /\ proposal[p].cut = t
  IN /\ MayAccept(n, b, t)
     /\ register' = [register EXCEPT ![n] = AfterWrite(@, b, t)]
     /\ accepted' = accepted \union {[ballot |-> b, tag |-> t, node |-> n]}
     /\ IF waits /\ Written(b, t)'
        THEN /\ proposal' = [p \in Writers |-> AfterChosen(p, b, t)]
             /\ Send({[type |-> "confirm", tag |-> t]} \union
                     (IF header[t].kind = "tombstone" THEN {[type |-> "erase", tag |-> t]} ELSE {}))
        ELSE UNCHANGED <<proposal, sent>>
     /\ UNCHANGED <<store, header, gone, reading, recovery>>

AfterErased(p, t, erasers) ==
  LET q == proposal[p] IN
  IF q.phase = "erasing" /\ q.cut = t /\ Cardinality(erasers) >= WriteQuorum
  THEN [q EXCEPT !.phase = "done", !.outcome = "deleted", !.shown = t, !.before = Overlooked(@, t)]
  ELSE q

TakeErase(n, m) ==                                                    \* PROTO-8
  LET erasers == {g.node : g \in {h \in gone : h.tag = m.tag}} \union {n} IN
  /\ store[n].serving
  /\ register' = [register EXCEPT ![n] = AfterErase(@, m.tag)]
  /\ gone' = gone \union {[tag |-> m.tag, node |-> n]}
  /\ proposal' = [p \in Writers |-> AfterErased(p, m.tag, erasers)]
  /\ UNCHANGED <<store, header, sent, accepted, reading, recovery>>

TakeKnowledge(n, m) ==                                                \* PROTO-6, PROTO-7: Confirm, Void, Repair
  /\ store[n].serving
  /\ register' = [register EXCEPT ![n] = CASE m.type = "confirm" -> AfterConfirm(@, m.tag)
                                           [] m.type = "void" -> AfterVoid(@, m.ballot, m.tags)
                                           [] m.type = "repair" -> AfterRepair(@, m.tag, m.share)]
  /\ register' # register
  /\ UNCHANGED <<store, header, sent, accepted, gone, proposal, reading, recovery>>

Take(n, m) ==
  \/ m.type = "write" /\ TakeWrite(n, m)
  \/ m.type = "erase" /\ TakeErase(n, m)
  \/ m.type \in {"confirm", "void", "repair"} /\ TakeKnowledge(n, m)

-----------------------------------------------------------------------------
(* The coordinator of a read: model/reading.py, model/repairing.py          *)

Repairs(answers, head) ==                                             \* PROTO-17
  IF head = None THEN {}
  ELSE IF header[head].kind = "tombstone" THEN {[type |-> "erase", tag |-> head]}
  ELSE {[type |-> "confirm", tag |-> head]} \union
       (IF Shares(answers, head) >= K THEN {[type |-> "repair", tag |-> head, share |-> TRUE]} ELSE {})

Fences(answers, head) ==                                              \* a history in doubt: tell the head to those that may yet accept below it
  IF \E n \in DOMAIN answers : NewestMark(answers[n]) < head THEN {[type |-> "repair", tag |-> head, share |-> FALSE]} ELSE {}

Answered(q, t, history) ==
  [q EXCEPT !.phase = "done", !.outcome = "answered", !.shown = t, !.answers = Nothing,
            !.history = history, !.before = Overlooked(@, t)]

Look(r, q, answers) ==
  \* What a reader does with the answers it has: answer, give up, or wait for more.
  LET j == Judge(answers, FALSE)
      live == j.head # None /\ header[j.head].kind = "value"
      line == Lineage(answers, j.head)
      asked == [q EXCEPT !.answers = answers]
      older == "older" \in Broken /\ j.head # None
  IN IF Cardinality(DOMAIN answers) < ReadQuorum \/ (j.doubts # <<>> /\ ~older)
     THEN /\ reading' = [reading EXCEPT ![r] = asked]
          /\ UNCHANGED sent
     ELSE IF Kinds[r] = "history" /\ live
     THEN IF None \in line
          THEN /\ reading' = [reading EXCEPT ![r] = asked]
               /\ Send(Fences(answers, j.head))
          ELSE /\ reading' = [reading EXCEPT ![r] = Answered(asked, j.head, line)]
               /\ UNCHANGED sent
     ELSE /\ reading' = [reading EXCEPT ![r] = Answered(asked, j.head, {})]
          /\ Send(IF Kinds[r] = "survey" THEN Repairs(answers, j.head) ELSE {})

Query(r, n) ==                                                        \* PROTO-15
  LET q == reading[r]
      first == q.answers = Nothing
      begun == [q EXCEPT !.before = IF first THEN Known ELSE @]
      answers == (n :> Snapshot(n, Kinds[r] = "history")) @@ q.answers
  IN /\ q.phase = "asking"
     /\ n \notin DOMAIN q.answers
     /\ store[n].serving
     /\ Look(r, begun, answers)
     /\ UNCHANGED <<register, store, header, accepted, gone, proposal, recovery>>

Rewrite(r) ==                                                         \* PROTO-16
  LET q == reading[r]
      j == Judge(q.answers, FALSE)
      t == Head(j.doubts)
      own == Max({q.answers[n].views[t].ballot : n \in Holders(q.answers, t)})
      ballot == IF "reader ballot" \in Broken THEN LastBallot + r ELSE own
  IN /\ q.phase = "asking"
     /\ Cardinality(DOMAIN q.answers) >= ReadQuorum
     /\ j.doubts # <<>>
     /\ Settleable(q.answers, t)
     /\ reading' = [reading EXCEPT ![r] = [q EXCEPT !.phase = "rewriting", !.rewritten = <<ballot, t>>]]
     /\ Send({[type |-> "write", ballot |-> ballot, tag |-> t]})
     /\ UNCHANGED <<register, store, header, accepted, gone, proposal, recovery>>

Rewritten(r) ==
  LET q == reading[r]
      t == q.rewritten[2]
      Mark(snapshot) == [snapshot EXCEPT !.views = [o \in DOMAIN @ |-> IF o = t THEN [@[o] EXCEPT !.chosen = TRUE] ELSE @[o]]]
      marked == [n \in DOMAIN q.answers |-> Mark(q.answers[n])]
      asking == [q EXCEPT !.phase = "asking", !.rewritten = <<>>]
      known == {[type |-> "confirm", tag |-> t]}
  IN /\ q.phase = "rewriting"
     /\ Written(q.rewritten[1], t)
     /\ reading' = [reading EXCEPT ![r] = Answered(asking, t, {})]
     /\ Send(known)
     /\ Kinds[r] # "history" /\ Judge(marked, FALSE).head = t
     /\ UNCHANGED <<register, store, header, accepted, gone, proposal, recovery>>

-----------------------------------------------------------------------------
(* A lost disk: PROTO-12, node/recovery.py, model/restoring.py              *)

Empty == [promised |-> None, floor |-> None, erased |-> None, records |-> Nothing]
Idle == [fence |-> None, fenced |-> {}, answers |-> Nothing]
Recovering == {n \in Nodes : ~store[n].serving}
FencesNeeded == N - WriteQuorum + 1
BallotsInUse == {proposal[p].ballot : p \in Writers} \union {register[n].promised : n \in Nodes}

Lose(n) ==
  /\ Recovering = {}
  /\ Cardinality({m \in Nodes : store[m].lost > 0} \union {n}) <= LossLimit
  /\ store[n].lost = 0
  /\ register' = [register EXCEPT ![n] = Empty]
  /\ store' = [store EXCEPT ![n] = [serving |-> FALSE, lost |-> @.lost + 1]]
  /\ UNCHANGED <<header, sent, accepted, gone, proposal, reading, recovery>>

Fence(n, m) ==
  \* Node m promises the recovering n nothing up to n's fence, which lies above every ballot in use when it is drawn.
  \* (The code leaves 2^32 counters above all that it hears of.)
  LET told == recovery[n]
      fence == IF told.fenced = {} THEN Max(BallotsInUse) ELSE told.fence
  IN /\ n \in Recovering
     /\ told.answers = Nothing
     /\ m \in Nodes \ (told.fenced \union {n})
     /\ recovery' = [recovery EXCEPT ![n] = [told EXCEPT !.fence = fence, !.fenced = @ \union {m}]]
     /\ register' = [register EXCEPT ![m].floor = IF "fence" \in Broken THEN @ ELSE Max({@, fence})]
     /\ UNCHANGED <<store, header, sent, accepted, gone, proposal, reading>>

Survey(n, m) ==
  LET told == recovery[n] IN
  /\ n \in Recovering
  /\ Cardinality(told.fenced) >= FencesNeeded
  /\ m # n /\ m \notin DOMAIN told.answers
  /\ recovery' = [recovery EXCEPT ![n].answers = (m :> Snapshot(m, TRUE)) @@ @]
  /\ UNCHANGED <<register, store, header, sent, accepted, gone, proposal, reading>>

RECURSIVE Remember(_, _, _)
Remember(r, answers, tags) ==
  \* What may have been chosen with the help of the lost store is kept in mind, in the order of its ballots: it ranks by the
  \* ballot that the others hold it under, it may have been accepted here, and it never counts as accepted here.
  IF tags = {} THEN r
  ELSE LET Rank(t) == Max({answers[n].views[t].ballot : n \in Holders(answers, t)})
           t == CHOOSE x \in tags : \A y \in tags : Rank(x) < Rank(y) \/ (Rank(x) = Rank(y) /\ x <= y)
           ballot == IF "hearsay" \in Broken THEN None ELSE Rank(t)
           held == [ballot |-> ballot, chosen |-> FALSE, share |-> FALSE, hearsay |-> TRUE]
       IN Remember(Keep([r EXCEPT !.records = Restrict(@, 1..(t - 1))], t, held), answers, tags \ {t})

RECURSIVE TakeOver(_, _, _)
TakeOver(r, answers, tags) ==
  IF tags = {} THEN r
  ELSE LET t == CHOOSE x \in tags : \A y \in tags : x <= y
           whole == NeedsShares(t) /\ Shares(answers, t) >= K
           after == IF header[t].kind = "tombstone" THEN AfterRepair(AfterErase(r, t), t, FALSE)
                    ELSE IF ~whole /\ "shareless" \in Broken THEN r
                    ELSE AfterRepair(r, t, whole)
       IN TakeOver(after, answers, tags \ {t})

Rejoin(n) ==
  LET told == recovery[n]
      answers == told.answers
      relied == IF "unfenced" \in Broken THEN answers ELSE Restrict(answers, told.fenced)   \* others may yet accept what they do not hold
      sure == {t \in Shown(relied) : Standing(relied, t, FALSE) = "chosen"}
      tombstones == {t \in sure : header[t].kind = "tombstone"}
      chosen == {t \in sure : \A o \in tombstones : o <= t}
      oldest == IF chosen = {} THEN None ELSE CHOOSE t \in chosen : \A o \in chosen : t <= o
      doubtful == IF "forget" \in Broken THEN {}
                  ELSE {t \in Shown(relied) : t > oldest /\ Standing(relied, t, FALSE) = "doubt"}
      floor == IF "floor" \in Broken THEN None ELSE told.fence
      taken == TakeOver(Remember(Empty, relied, doubtful), answers, chosen)
      heard == IF "survey" \in Broken THEN DOMAIN answers ELSE (DOMAIN answers) \intersect told.fenced
  IN /\ n \in Recovering
     /\ Cardinality(DOMAIN answers) >= ReadQuorum
     /\ Cardinality(heard) >= FencesNeeded
     /\ store' = [store EXCEPT ![n].serving = TRUE]
     /\ register' = [register EXCEPT ![n] = [taken EXCEPT !.floor = floor]]
     /\ recovery' = [recovery EXCEPT ![n] = Idle]
     /\ UNCHANGED <<header, sent, accepted, gone, proposal, reading>>

-----------------------------------------------------------------------------
FirstHeader == [kind |-> "value", incarnation |-> 1, sequence |-> 1, version |-> 1, base |-> None, doubts |-> <<>>]
FirstHeld(marked) ==
  [Empty EXCEPT !.promised = 1, !.records = (1 :> [ballot |-> 1, chosen |-> marked, share |-> TRUE, hearsay |-> FALSE])]
FirstSent == {[type |-> "write", ballot |-> 1, tag |-> 1], [type |-> "confirm", tag |-> 1]}
FirstAccepted(holders) == {[ballot |-> 1, tag |-> 1, node |-> n] : n \in holders}

AllServe == [n \in Nodes |-> [serving |-> TRUE, lost |-> 0]]
NotBegun == [phase |-> "voting", ballot |-> 0, answers |-> Nothing, cut |-> None, outcome |-> "none", shown |-> None, before |-> {}]
NotAsked == [phase |-> "asking", answers |-> Nothing, rewritten |-> <<>>, outcome |-> "none", shown |-> None, history |-> {}, before |-> {}]

Init ==
  /\ store = AllServe
  /\ header = [t \in Tags |-> IF Live /\ t = 1 THEN FirstHeader ELSE Unused]
  /\ sent = IF Live THEN FirstSent ELSE {}
  /\ IF Live
     THEN \E holders \in CASE Begin = "whole" -> {Nodes}
                           [] Begin = "missing" -> {Nodes \ {n} : n \in Nodes}
                           [] Begin = "partial" -> {h \in SUBSET Nodes : Cardinality(h) >= Max({K, N - K + 1})} :
          \E marked \in IF Begin = "partial" THEN SUBSET holders ELSE {holders} :
            /\ register = [n \in Nodes |-> IF n \in holders THEN FirstHeld(n \in marked) ELSE Empty]
            /\ accepted = FirstAccepted(holders)
     ELSE /\ register = [n \in Nodes |-> Empty]
          /\ accepted = {}
  /\ gone = {}
  /\ proposal = [p \in Writers |-> NotBegun]
  /\ reading = [r \in Readers |-> NotAsked]
  /\ recovery = [n \in Nodes |-> Idle]

Next ==
  \/ \E p \in Writers : \E b \in Own(p) : \E n \in Nodes : Vote(p, b, n)
  \/ \E n \in Nodes : \E m \in sent : Take(n, m)
  \/ \E r \in Readers : \E n \in Nodes : Query(r, n)
  \/ \E r \in Readers : Rewrite(r) \/ Rewritten(r)
  \/ \E n \in Nodes : Lose(n) \/ Rejoin(n)
  \/ \E n \in Nodes : \E m \in Nodes : Fence(n, m) \/ Survey(n, m)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What must hold.                                                          *)

Comparable(x, y) == x \in Chain(y) \/ y \in Chain(x)

\* All that clients were ever shown (their own writes answered, what they read, what stood in their way) lies in one chain.
OneChain == LET seen == Known \union (IF Live THEN {1} ELSE {}) IN \A x, y \in seen : Comparable(x, y)

\* SEM-25: an operation stands on whatever any client had been shown before it began.
NothingOverlooked ==
  /\ \A p \in Writers : proposal[p].phase = "done" => proposal[p].before = {} /\ (Live /\ proposal[p].shown # None => 1 \in Chain(proposal[p].shown))
  /\ \A r \in Readers : reading[r].phase = "done" => reading[r].before = {} /\ (Live => 1 \in Chain(reading[r].shown))

\* SEM-15: a history holds every write of its incarnation that was ever acknowledged below its head; two of them agree.
HistoriesAgree ==
  \A r \in Readers : reading[r].history # {} =>
    /\ \A x \in Known : x \in Chain(reading[r].shown) /\ header[x].incarnation = header[reading[r].shown].incarnation => x \in reading[r].history
    /\ \A s \in Readers : reading[s].history # {} =>
         \/ reading[r].history \subseteq reading[s].history
         \/ reading[s].history \subseteq reading[r].history
         \/ header[reading[r].shown].incarnation # header[reading[s].shown].incarnation

\* SEM-7: where voting failed, nothing was written, ever, under any of the proposal's ballots.
FailedVotesWroteNothing ==
  \A p \in Writers : proposal[p].outcome \in {"voting_failed", "secret_exists", "secret_not_found"} =>
    \A b \in Own(p) : header[b] = Unused

\* PROTO-1, STORE-7: after a delete was answered, fewer than k shares of what it buried exist, at any later time.
Shredded ==
  \A p \in Writers : proposal[p].outcome = "deleted" =>
    \A t \in 1..(proposal[p].cut - 1) :
      Cardinality({n \in Nodes : t \in DOMAIN register[n].records /\ register[n].records[t].share}) < K

Chosen(t) == \E b \in Ballots : Written(b, t)
Buries(o, t) == header[o].kind = "tombstone" /\ t \in Chain(o)

\* What was acknowledged can be rebuilt until a delete was chosen above it (as long as no disk is lost).
Durable ==
  (\A n \in Nodes : store[n].lost = 0) =>
    \A t \in Known \union (IF Live THEN {1} ELSE {}) : header[t].kind = "value" /\ (\A o \in Tags : Buries(o, t) => ~Chosen(o)) =>
      Cardinality({n \in Nodes : t \in DOMAIN register[n].records /\ register[n].records[t].share}) >= K

\* SEM-10, STORE header: sequences never restart; versions restart only with an incarnation and name one record each.
Numbered ==
  /\ \A x, y \in Known : x # y /\ x \in Chain(y) => header[x].sequence < header[y].sequence
  /\ \A x, y \in Known : x # y /\ header[x].kind = "value" /\ header[y].kind = "value" /\ header[x].incarnation = header[y].incarnation =>
       header[x].version # header[y].version
  /\ \A t \in Tags : header[t].kind = "value" => (header[t].version = 1) = IsCreate(t)

\* PROTO-11: two records never share a ballot, and no write stands on a doubt about the secret's existence.
OneRecordPerBallot == \A m, o \in {w \in sent : w.type = "write"} : m.ballot = o.ballot => m.tag = o.tag
DoubtsAreUpdates == \A t \in Tags : \A d \in Range(header[t].doubts) : header[d].kind = "value" /\ ~IsCreate(d) /\ header[d].incarnation = header[t].incarnation
=============================================================================
