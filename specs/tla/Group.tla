-------------------------------- MODULE Group --------------------------------
(***************************************************************************)
(* A group of creates, all or nothing (PROTO-14; model/group.py,           *)
(* model/session.py): two names and the register that decides, on n nodes. *)
(*                                                                         *)
(* One coordinator creates the names "a" and "b" as a group; a rival       *)
(* creates "a" alone; readers read both names, one after the other.  Any   *)
(* of them may stop for good at any step: that is a crash.  Messages are   *)
(* as in Secret.tla: once sent, taken late, twice or never.                *)
(*                                                                         *)
(* Each register runs the protocol of Secret.tla.  Here a name holds at    *)
(* most two records, the group's provisional one and the rival's, and the  *)
(* decision's records are COMMIT or ABORT; none has ancestors, so judging  *)
(* is spelt out for that case only.  Where nobody else proposes ("b", and  *)
(* everywhere if there is no rival) the group's vote is left out: it can   *)
(* neither fail nor show anything, and nobody sees a promise.              *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, Sequences, TLC

CONSTANTS
  Nodes,        \* n nodes; all three registers lie on them
  Threshold,    \* k
  Rival,        \* whether there is a rival
  LastBallot,   \* the group's ballots are the odd ones up to this, the rival's the even ones
  Readers,      \* a set of numbers: an odd reader reads "a", then "b"; an even one "b", then "a"
  Broken        \* rules switched off, {} for the protocol as it is

VARIABLES
  register,     \* per register and node: promised, records (tag -> ballot, chosen)
  kind,         \* per tag of the decision's register: commit, abort or unused
  sent,         \* every Write, Confirm, Void ever sent
  accepted,     \* every Accepted ever answered
  group,        \* the coordinator of the group: a member for each register, and the outcome
  rival,        \* the coordinator of the other create of "a"
  reading       \* per reader

vars == <<register, kind, sent, accepted, group, rival, reading>>

-----------------------------------------------------------------------------
Max(set) == CHOOSE x \in set : \A y \in set : y <= x
N == Cardinality(Nodes)
ReadQuorum == Threshold
WriteQuorum == Max({Threshold, N - Threshold + 1}) - (IF "quorum" \in Broken THEN 1 ELSE 0)
Names == {"a", "b"}
Registers == Names \union {"decision"}
None == 0
Nothing == [t \in {} |-> None]
Tags == 1..LastBallot
GroupBallots == {b \in Tags : b % 2 = 1}
RivalBallots == IF Rival THEN Tags \ GroupBallots ELSE {}
Provisional(x, t) == x \in Names /\ t \in GroupBallots
Symmetry == Permutations(Nodes)

-----------------------------------------------------------------------------
(* A node *)

Restrict(f, set) == [x \in (DOMAIN f) \intersect set |-> f[x]]
Snapshot(x, n) == register[x][n].records

Keep(r, t, held) ==
  LET kept == {o \in DOMAIN r.records : o > t /\ ~held.chosen}
  IN [r EXCEPT !.records = [o \in kept \union {t} |-> IF o = t THEN held ELSE r.records[o]]]

Take(n, m) ==
  LET r == register[m.secret][n]
      t == m.tag
      newer == \E o \in DOMAIN r.records : r.records[o].chosen /\ o > t
      marked == t \in DOMAIN r.records /\ r.records[t].chosen
  IN \/ /\ m.type = "write"
        /\ m.ballot >= r.promised /\ ~newer
        /\ register' = [register EXCEPT ![m.secret][n] =
             Keep([r EXCEPT !.promised = m.ballot, !.records = Restrict(@, 1..t)], t, [ballot |-> m.ballot, chosen |-> marked])]
        /\ accepted' = accepted \union {[secret |-> m.secret, ballot |-> m.ballot, tag |-> t, node |-> n]}
        /\ UNCHANGED <<kind, sent, group, rival, reading>>
     \/ /\ m.type = "confirm"
        /\ t \in DOMAIN r.records /\ ~marked
        /\ register' = [register EXCEPT ![m.secret][n] = Keep(r, t, [r.records[t] EXCEPT !.chosen = TRUE])]
        /\ UNCHANGED <<kind, sent, accepted, group, rival, reading>>
     \/ /\ m.type = "void"
        /\ t \in DOMAIN r.records /\ ~marked /\ r.records[t].ballot < m.ballot
        /\ register' = [register EXCEPT ![m.secret][n].records = Restrict(@, Tags \ {t})]
        /\ UNCHANGED <<kind, sent, accepted, group, rival, reading>>

-----------------------------------------------------------------------------
(* Judging.  `committed` is what is known of the group: "yes", "no", "ask". *)

Holders(answers, t) == {n \in DOMAIN answers : t \in DOMAIN answers[n]}
Shown(answers) == UNION {DOMAIN answers[n] : n \in DOMAIN answers}
Proven(answers) == {t \in Shown(answers) : \E n \in Holders(answers, t) : answers[n][t].chosen}

Standing(x, answers, t, committed) ==
  LET holders == Holders(answers, t)
      possible == N - Cardinality(DOMAIN answers) + Cardinality(holders)
      Under(b) == Cardinality({n \in holders : answers[n][t].ballot = b})
  IN IF t \in Proven(answers) THEN "chosen"
     ELSE IF Provisional(x, t) /\ committed # "ask" THEN (IF committed = "yes" THEN "chosen" ELSE "void")
     ELSE IF Proven(answers) # {} THEN "void"
     ELSE IF possible < WriteQuorum THEN "void"
     ELSE IF Provisional(x, t) THEN "unresolved"
     ELSE IF Max({0} \union {Under(b) : b \in Tags}) >= WriteQuorum THEN "chosen"
     ELSE "doubt"

Start(answers) ==
  LET tops == IF Proven(answers) # {} THEN Proven(answers) ELSE Shown(answers)
      Rank(t) == Max({answers[n][t].ballot : n \in Holders(answers, t)})
  IN IF tops = {} THEN None ELSE CHOOSE t \in tops : \A o \in tops : Rank(o) < Rank(t) \/ (Rank(o) = Rank(t) /\ o <= t)

Judge(x, answers, committed) ==
  LET t == Start(answers)
  IN [tag |-> t, standing |-> IF t = None THEN "absent" ELSE Standing(x, answers, t, committed)]

Written(x, b, t) == Cardinality({a \in accepted : a.secret = x /\ a.ballot = b /\ a.tag = t}) >= WriteQuorum
Write(x, b, t) == [type |-> "write", secret |-> x, ballot |-> b, tag |-> t]
Confirm(x, t) == [type |-> "confirm", secret |-> x, ballot |-> 0, tag |-> t]
Void(x, b, t) == [type |-> "void", secret |-> x, ballot |-> b, tag |-> t]
Send(messages) == sent' = sent \union messages

-----------------------------------------------------------------------------
(* What clients have been shown, and what an operation must not contradict. *)

CommitSeen ==                     \* somebody was told that the group took effect
  \/ group.outcome = "written"
  \/ rival.outcome = "secret_exists"
  \/ \E r \in DOMAIN reading : \E x \in Names : reading[r].found[x] = "group"
RivalSeen ==
  \/ rival.outcome = "written"
  \/ \E r \in DOMAIN reading : reading[r].found["a"] = "rival"

-----------------------------------------------------------------------------
(* The group: vote on all three, write the names, then the decision.        *)

GroupVote(x, b, n) ==
  LET m == group.members[x]
      answers == (n :> Snapshot(x, n)) @@ (IF m.ballot = b THEN m.answers ELSE Nothing)
      Member(phase, shown) == [group EXCEPT !.members[x] = [phase |-> phase, ballot |-> b, answers |-> shown]]
  IN /\ group.outcome = "none" /\ m.phase = "voting"
     /\ b > m.ballot \/ (b = m.ballot /\ n \notin DOMAIN m.answers)
     /\ b > register[x][n].promised
     /\ register' = [register EXCEPT ![x][n].promised = b]
     /\ group' = IF Cardinality(DOMAIN answers) < WriteQuorum THEN Member("voting", answers)
                 ELSE IF Judge(x, answers, "ask").standing \in {"absent", "void"} THEN Member("ready", Nothing)
                 ELSE [group EXCEPT !.outcome = "voting_failed"]
     /\ UNCHANGED <<kind, sent, accepted, rival, reading>>

GroupWrites ==
  LET Ballot(x) == group.members[x].ballot
      now == IF "early commit" \in Broken THEN Registers ELSE Names
  IN /\ group.outcome = "none"
     /\ \A x \in Registers : group.members[x].phase = "ready"
     /\ group' = [group EXCEPT !.members = [x \in Registers |-> IF x \in now THEN [@[x] EXCEPT !.phase = "writing"] ELSE @[x]]]
     /\ Send({Write(x, Ballot(x), Ballot(x)) : x \in now})
     /\ kind' = IF "decision" \in now THEN [kind EXCEPT ![Ballot("decision")] = "commit"] ELSE kind
     /\ UNCHANGED <<register, accepted, rival, reading>>

GroupDecides(what) ==
  \* All names are chosen: commit.  Or it gives up on them: abort, so that nobody need wonder.
  LET m == group.members["decision"]
      complete == \A x \in Names : Written(x, group.members[x].ballot, group.members[x].ballot)
  IN /\ group.outcome = "none" /\ m.phase = "ready"
     /\ \A x \in Names : group.members[x].phase = "writing"
     /\ what = "commit" => complete
     /\ group' = [group EXCEPT !.members["decision"].phase = "writing"]
     /\ kind' = [kind EXCEPT ![m.ballot] = what]
     /\ Send({Write("decision", m.ballot, m.ballot)})
     /\ UNCHANGED <<register, accepted, rival, reading>>

GroupDone ==
  LET b == group.members["decision"].ballot IN
  /\ group.outcome = "none" /\ group.members["decision"].phase = "writing"
  /\ kind[b] = "commit"
  /\ Written("decision", b, b)
  /\ \A x \in Names : Written(x, group.members[x].ballot, group.members[x].ballot)
  /\ group' = [group EXCEPT !.outcome = "written"]
  /\ Send({Confirm(x, group.members[x].ballot) : x \in Registers})
  /\ UNCHANGED <<register, kind, accepted, rival, reading>>

-----------------------------------------------------------------------------
(* The rival: a plain create of "a".  A provisional record must be decided  *)
(* first: it gets ABORT chosen, unless a decision stands.                   *)

RivalJudges(q, answers, committed) ==
  LET j == Judge("a", answers, committed)
      t == j.tag
  IN CASE j.standing = "chosen" ->
            /\ rival' = [q EXCEPT !.phase = "done", !.outcome = "secret_exists"]
            /\ UNCHANGED sent
       [] j.standing = "unresolved" ->
            /\ rival' = [q EXCEPT !.phase = "resolving", !.answers = answers]
            /\ UNCHANGED sent
       [] OTHER ->                                                    \* absent, or void
            /\ rival' = [q EXCEPT !.phase = "writing", !.answers = Nothing]
            /\ Send({Write("a", q.ballot, q.ballot)} \union (IF t = None THEN {} ELSE {Void("a", q.ballot, t)}))

RivalVote(b, n) ==
  LET answers == (n :> Snapshot("a", n)) @@ (IF rival.ballot = b THEN rival.answers ELSE Nothing)
      asked == [rival EXCEPT !.ballot = b, !.answers = answers]
  IN /\ rival.phase = "voting"
     /\ b > rival.ballot \/ (b = rival.ballot /\ n \notin DOMAIN rival.answers)
     /\ b > register["a"][n].promised
     /\ register' = [register EXCEPT !["a"][n].promised = b]
     /\ IF Cardinality(DOMAIN answers) < WriteQuorum
        THEN rival' = asked /\ UNCHANGED sent
        ELSE RivalJudges(asked, answers, IF "rival" \in Broken THEN "no" ELSE "ask")
     /\ UNCHANGED <<kind, accepted, group, reading>>

RivalVoteDecision(b, n) ==
  LET q == rival
      heard == IF q.deciding = b THEN q.decision ELSE Nothing
      answers == (n :> Snapshot("decision", n)) @@ heard
      asked == [q EXCEPT !.deciding = b, !.decision = answers]
      j == Judge("decision", answers, "ask")
      Again(t) == /\ rival' = [asked EXCEPT !.phase = "deciding", !.cut = t, !.decision = Nothing]
                  /\ Send({Write("decision", b, t)})
  IN /\ q.phase = "resolving"
     /\ b > q.deciding \/ (b = q.deciding /\ n \notin DOMAIN q.decision)
     /\ b > register["decision"][n].promised
     /\ register' = [register EXCEPT !["decision"][n].promised = b]
     /\ IF Cardinality(DOMAIN answers) < WriteQuorum
        THEN rival' = asked /\ UNCHANGED <<kind, sent>>
        ELSE CASE j.standing = "chosen" -> /\ RivalJudges(asked, q.answers, IF kind[j.tag] = "commit" THEN "yes" ELSE "no")
                                           /\ UNCHANGED kind
               [] j.standing = "doubt" -> Again(j.tag) /\ UNCHANGED kind
               [] OTHER -> Again(b) /\ kind' = [kind EXCEPT ![b] = "abort"]
     /\ UNCHANGED <<accepted, group, reading>>

RivalDecided ==
  /\ rival.phase = "deciding"
  /\ Written("decision", rival.deciding, rival.cut)
  /\ RivalJudges(rival, rival.answers, IF kind[rival.cut] = "commit" THEN "yes" ELSE "no")
  /\ UNCHANGED <<register, kind, accepted, group, reading>>

RivalDone ==
  /\ rival.phase = "writing"
  /\ Written("a", rival.ballot, rival.ballot)
  /\ rival' = [rival EXCEPT !.phase = "done", !.outcome = "written"]
  /\ Send({Confirm("a", rival.ballot)})
  /\ UNCHANGED <<register, kind, accepted, group, reading>>

-----------------------------------------------------------------------------
(* A reader: two reads, one after the other.  A provisional record sends it *)
(* to the decision; undecided is not committed *yet*.                       *)

Now(r) == IF (r % 2 = 1) = (reading[r].place = 1) THEN "a" ELSE "b"

Answer(r, q, x, found) ==
  \* `late`: the answer denies what somebody had been shown before this read began.
  [q EXCEPT !.found[x] = found, !.place = @ + 1, !.phase = "asking", !.answers = Nothing, !.decision = Nothing,
            !.late = @ \/ (q.before.commit /\ found # "group") \/ (q.before.rival /\ x = "a" /\ found # "rival")]

Look(r, q, answers, committed) ==
  LET x == Now(r)
      j == Judge(x, answers, committed)
  IN IF Cardinality(DOMAIN answers) < ReadQuorum THEN [q EXCEPT !.answers = answers]
     ELSE CASE j.standing = "chosen" -> Answer(r, q, x, IF Provisional(x, j.tag) THEN "group" ELSE "rival")
            [] j.standing = "unresolved" -> [q EXCEPT !.phase = "deciding", !.answers = answers]
            [] j.standing = "doubt" -> [q EXCEPT !.answers = answers]
            [] OTHER -> Answer(r, q, x, "absent")

Query(r, n) ==
  LET q == reading[r]
      first == q.answers = Nothing
      begun == [q EXCEPT !.before = IF first THEN [commit |-> CommitSeen, rival |-> RivalSeen] ELSE @]
  IN /\ q.phase = "asking" /\ q.place <= 2
     /\ n \notin DOMAIN q.answers
     /\ reading' = [reading EXCEPT ![r] = Look(r, begun, (n :> Snapshot(Now(r), n)) @@ q.answers,
                                               IF "reader" \in Broken THEN "yes" ELSE "ask")]
     /\ UNCHANGED <<register, kind, sent, accepted, group, rival>>

LookUp(r, n) ==
  LET q == reading[r]
      answers == (n :> Snapshot("decision", n)) @@ q.decision
      j == Judge("decision", answers, "ask")
      asked == [q EXCEPT !.decision = answers]
  IN /\ q.phase = "deciding"
     /\ n \notin DOMAIN q.decision
     /\ reading' = [reading EXCEPT ![r] =
          IF Cardinality(DOMAIN answers) < ReadQuorum \/ j.standing = "doubt" THEN asked
          ELSE Look(r, q, q.answers, IF j.standing = "chosen" /\ kind[j.tag] = "commit" THEN "yes" ELSE "no")]
     /\ UNCHANGED <<register, kind, sent, accepted, group, rival>>

Rewrite(r) ==                                                         \* PROTO-16, of a name or of the decision
  LET q == reading[r]
      x == IF q.phase = "deciding" THEN "decision" ELSE Now(r)
      answers == IF q.phase = "deciding" THEN q.decision ELSE q.answers
      j == Judge(x, answers, "ask")
      own == Max({answers[n][j.tag].ballot : n \in Holders(answers, j.tag)})
  IN /\ q.phase \in {"asking", "deciding"} /\ q.place <= 2
     /\ Cardinality(DOMAIN answers) >= ReadQuorum
     /\ j.standing = "doubt"
     /\ x \in Names => Cardinality(Holders(answers, j.tag)) >= Threshold
     /\ reading' = [reading EXCEPT ![r].phase = IF q.phase = "deciding" THEN "rewriting decision" ELSE "rewriting",
                                   ![r].rewritten = <<own, j.tag>>]
     /\ Send({Write(x, own, j.tag)})
     /\ UNCHANGED <<register, kind, accepted, group, rival>>

Rewritten(r) ==
  LET q == reading[r]
      t == q.rewritten[2]
      x == IF q.phase = "rewriting" THEN Now(r) ELSE "decision"
      back == [q EXCEPT !.rewritten = <<>>]
  IN /\ q.phase \in {"rewriting", "rewriting decision"}
     /\ Written(x, q.rewritten[1], t)
     /\ reading' = [reading EXCEPT ![r] = IF q.phase = "rewriting" THEN Answer(r, back, x, "rival")
                                          ELSE Look(r, back, q.answers, IF kind[t] = "commit" THEN "yes" ELSE "no")]
     /\ Send({Confirm(x, t)})
     /\ UNCHANGED <<register, kind, accepted, group, rival>>

-----------------------------------------------------------------------------
Init ==
  /\ register = [x \in Registers |-> [n \in Nodes |-> [promised |-> 0, records |-> Nothing]]]
  /\ kind = [t \in Tags |-> "unused"]
  /\ sent = {}
  /\ accepted = {}
  /\ group = [outcome |-> "none", members |-> [x \in Registers |->
                 IF Rival /\ x # "b" THEN [phase |-> "voting", ballot |-> 0, answers |-> Nothing]
                 ELSE [phase |-> "ready", ballot |-> 1, answers |-> Nothing]]]
  /\ rival = [phase |-> "voting", ballot |-> 0, answers |-> Nothing, deciding |-> 0, decision |-> Nothing, cut |-> None, outcome |-> "none"]
  /\ reading = [r \in Readers |-> [phase |-> "asking", place |-> 1, answers |-> Nothing, decision |-> Nothing, rewritten |-> <<>>,
                                   found |-> [x \in Names |-> "none"], before |-> [commit |-> FALSE, rival |-> FALSE], late |-> FALSE]]

Next ==
  \/ \E x \in Registers : \E b \in GroupBallots : \E n \in Nodes : GroupVote(x, b, n)
  \/ GroupWrites \/ GroupDecides("commit") \/ GroupDecides("abort") \/ GroupDone
  \/ \E b \in RivalBallots : \E n \in Nodes : RivalVote(b, n) \/ RivalVoteDecision(b, n)
  \/ RivalDecided \/ RivalDone
  \/ \E n \in Nodes : \E m \in sent : Take(n, m)
  \/ \E r \in DOMAIN reading : \E n \in Nodes : Query(r, n) \/ LookUp(r, n)
  \/ \E r \in DOMAIN reading : Rewrite(r) \/ Rewritten(r)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* SEM-19: all or nothing, for every observer, from the moment that one of them is seen. *)

AllOrNothing == ~(CommitSeen /\ RivalSeen)
NothingDenied == \A r \in DOMAIN reading : ~reading[r].late
DefiniteFailureWroteNothing == group.outcome = "voting_failed" => ~CommitSeen /\ \A m \in sent : m.type = "write" /\ m.secret \in Names => m.tag \in RivalBallots
CommittedMeansAll ==               \* wherever COMMIT was chosen, both names had been chosen
  \A t \in Tags : kind[t] = "commit" /\ (\E b \in Tags : Written("decision", b, t)) =>
    \A x \in Names : \E p \in GroupBallots : Written(x, p, p)
OneDecision == \A t, u \in Tags : (\E b, c \in Tags : Written("decision", b, t) /\ Written("decision", c, u)) => t = u
=============================================================================
