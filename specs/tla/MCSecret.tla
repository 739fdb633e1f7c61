------------------------------ MODULE MCSecret ------------------------------
(* Names for the scenarios of the configurations: a .cfg file cannot write a sequence. *)
EXTENDS Secret
Nobody == <<>>
Create_Create == <<"create", "create">>
Update == <<"update">>
Update_Update == <<"update", "update">>
Update_Delete == <<"update", "delete">>
Delete_Create == <<"delete", "create">>
Update_Settle == <<"update", "settle">>
Latest == <<"latest">>
History == <<"history">>
Repairer == <<"survey">>
Latest_Latest == <<"latest", "latest">>
Latest_Survey == <<"latest", "survey">>
History_History == <<"history", "history">>
=============================================================================
