------------------------------ MODULE MCSecret ------------------------------
(* Names for the scenarios of the configurations: a .cfg file cannot write a sequence. *)
EXTENDS Secret
Nobody == <<>>
Create_Create == <<"create", "create">>
Update == <<"update">>
Delete == <<"delete">>
Update_Update == <<"update", "update">>
Update_Delete == <<"update", "delete">>
Delete_Create == <<"delete", "create">>
Settle_Update_Delete_Update == <<"settle", "update", "delete", "update">>
Latest == <<"latest">>
History == <<"history">>
Repairer == <<"survey">>
Latest_Latest == <<"latest", "latest">>
Repairer_Latest == <<"survey", "latest">>
History_History == <<"history", "history">>
=============================================================================
