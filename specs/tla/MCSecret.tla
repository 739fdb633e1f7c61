------------------------------ MODULE MCSecret ------------------------------
(* Names for the scenarios of the configurations: a .cfg file cannot write a sequence. *)
EXTENDS Secret
Nobody == <<>>
Create_Create == <<"create", "create">>
Delete == <<"delete">>
Update_Update == <<"update", "update">>
Update_Delete == <<"update", "delete">>
Delete_Create == <<"delete", "create">>
Settle_Update_Delete_Update == <<"settle", "update", "delete", "update">>
Latest == <<"latest">>
History == <<"history">>
Repairer == <<"survey">>
Repairer_Latest == <<"survey", "latest">>

\* A bound, for the largest case only: writers vote one after the other, in the order of their ballots. Their writes still meet in any order.
Voting(p) == proposal[p].phase = "voting" /\ (proposal[p].ballot = 0 \/ proposal[p].answers # Nothing)
InTurn == \A p, q \in Writers : proposal[q].ballot # 0 /\ Max(Own(p)) < Max(Own(q)) => ~Voting(p)
=============================================================================
