CREATE TABLE minidvodbRun (
    minidvodb_id BIGINT AUTO_INCREMENT,
    minidvodb_name VARCHAR(64),
    minidvodb_group VARCHAR(64) NOT NULL,
    minidvodb_path VARCHAR(255) NOT NULL,
    state VARCHAR(64) NOT NULL,
    creation_date TIMESTAMP,
    PRIMARY KEY (minidvodb_id),
    KEY (minidvodb_name)
) ENGINE=InnoDB DEFAULT CHARSET=latin1;

CREATE TABLE minidvodbProcessed (
    minidvodb_id BIGINT,
    dtime_resort FLOAT,
    dtime_relphot FLOAT,
    dtime_script FLOAT,
    epoch TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    fault SMALLINT NOT NULL,
    UNIQUE KEY (minidvodb_id),
    FOREIGN KEY (minidvodb_id) REFERENCES minidvodbRun (minidvodb_id)
) ENGINE=InnoDB DEFAULT CHARSET=latin1;

CREATE TABLE minidvodbCopy (
    minidvodbcopy_id BIGINT AUTO_INCREMENT,
    minidvodb_id BIGINT,
    minidvodb_rsync_path VARCHAR(255) NOT NULL,
    destination_host VARCHAR(255) NOT NULL,
    fault SMALLINT NOT NULL,
    state VARCHAR(64) NOT NULL,
    epoch TIMESTAMP,
    dtime FLOAT,
    PRIMARY KEY (minidvodbcopy_id),
    KEY (minidvodb_id),
    FOREIGN KEY (minidvodb_id) REFERENCES minidvodbRun (minidvodb_id)
) ENGINE=InnoDB DEFAULT CHARSET=latin1;
