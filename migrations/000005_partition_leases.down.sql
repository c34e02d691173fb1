DROP TABLE poll_partitions;
DROP TABLE pollers;
