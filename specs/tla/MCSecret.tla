------------------------------ MODULE MCSecret ------------------------------
(* Names for the scenarios of the configurations: a .cfg file cannot write a sequence. *)
EXTENDS Secret
Nobody == <<>>
Create_Create == <<"create", "create">>
Delete == <<"delete">>
Update_Update == <<"update", "update">>
Update_Delete == <<"update", "delete">>
Update == <<"update">>
Delete_Create == <<"delete", "create">>
Settle_Update_Delete_Update == <<"settle", "update", "delete", "update">>
Latest == <<"latest">>
History == <<"history">>
Repairer == <<"survey">>
Repairer_Latest == <<"survey", "latest">>

\* Pasts: where cases begin that are too large from Init on.  That each is a state which Init leads to is checked by its denial, Never...,
\* which TLC must refute.

\* The surveyor has seen that the first version is missing at one node, and its repair is on the way.
Surveyed ==
  /\ store = AllServe
  /\ header = [t \in Tags |-> IF t = 1 THEN FirstHeader ELSE Unused]
  /\ \E without \in Nodes :
    /\ register = [n \in Nodes |-> IF n = without THEN Empty ELSE FirstHeld(TRUE)]
    /\ accepted = FirstAccepted(Nodes \ {without})
  /\ sent = FirstSent \union {[type |-> "repair", tag |-> 1, share |-> TRUE]}
  /\ gone = {}
  /\ proposal = [p \in Writers |-> NotBegun]
  /\ reading = [r \in Readers |->
       IF Kinds[r] = "survey" THEN [NotAsked EXCEPT !.phase = "done", !.outcome = "answered", !.shown = 1] ELSE NotAsked]
  /\ recovery = [n \in Nodes |-> Idle]
NeverSurveyed == ~Surveyed

\* A delete under ballot 2 reached one node, an update under ballot 3 another: its voters had not heard of the delete.  Then somebody who
\* settles heard, under ballot 4, of the delete alone, and writes it again.  All three coordinators wait for acceptances.  (No two nodes
\* are alike: instead of SYMMETRY, one choice of them is enough.)
Settling ==
  LET d == CHOOSE n \in Nodes : TRUE
      u == CHOOSE n \in Nodes \ {d} : TRUE
      Waits(b) == [NotBegun EXCEPT !.phase = IF b = 4 THEN "settling" ELSE "writing", !.ballot = b, !.cut = IF b = 4 THEN 2 ELSE b]
      Promise(r) == [r EXCEPT !.promised = 4]
  IN
  /\ store = AllServe
  /\ header = [t \in Tags |->
       CASE t = 1 -> FirstHeader
         [] t = 2 -> [FirstHeader EXCEPT !.kind = "tombstone", !.sequence = 2, !.base = 1]
         [] t = 3 -> [FirstHeader EXCEPT !.sequence = 2, !.version = 2, !.base = 1]
         [] OTHER -> Unused]
  /\ register = [n \in Nodes |->
       CASE n = d -> Promise(AfterWrite(FirstHeld(TRUE), 2, 2))
         [] n = u -> AfterWrite(FirstHeld(TRUE), 3, 3)
         [] OTHER -> Promise(FirstHeld(TRUE))]
  /\ accepted = FirstAccepted(Nodes) \union {[ballot |-> 2, tag |-> 2, node |-> d], [ballot |-> 3, tag |-> 3, node |-> u]}
  /\ sent = FirstSent \union {[type |-> "write", ballot |-> b, tag |-> IF b = 4 THEN 2 ELSE b] : b \in 2..4}
  /\ gone = {}
  /\ proposal = [p \in Writers |-> IF Own(p) \intersect 2..4 = {} THEN NotBegun ELSE Waits(Max(Own(p)))]
  /\ reading = [r \in Readers |-> NotAsked]
  /\ recovery = [n \in Nodes |-> Idle]
NeverSettling == ~Settling

\* A bound on the search for that past: writers vote one after the other, in the order of their ballots. Afterwards one of them is left.
Voting(p) == proposal[p].phase = "voting" /\ (proposal[p].ballot = 0 \/ proposal[p].answers # Nothing)
InTurn == \A p, q \in Writers : proposal[q].ballot # 0 /\ Max(Own(p)) < Max(Own(q)) => ~Voting(p)
=============================================================================
