"""The gateway: the public JSON API. Validates, authorises, attaches the time and forwards; decides no state."""
