DROP TABLE discovery_hosts;
DROP TABLE discoveries;
