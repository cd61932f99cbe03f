-- How many builds have not ended, in all and of one principal, is counted for each new one.

CREATE INDEX builds_open ON builds (created_by) WHERE state IN ('queued', 'running');
