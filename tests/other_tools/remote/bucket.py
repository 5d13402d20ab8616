"""Changes buckets of the S3 server that AWS_ENDPOINT_URL names.

    bucket.py make BUCKET
    bucket.py upload FOLDER BUCKET PREFIX
    bucket.py put BUCKET KEY TEXT
    bucket.py delete BUCKET KEY
"""

import pathlib
import sys

import boto3

s3 = boto3.client("s3")
match sys.argv[1:]:
    case ["make", bucket]:
        s3.create_bucket(Bucket=bucket)
    case ["upload", folder, bucket, prefix]:
        root = pathlib.Path(folder)
        for path in sorted(root.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(root).as_posix()}"
                s3.upload_file(str(path), bucket, key, ExtraArgs={"ACL": "public-read"})
    case ["put", bucket, key, text]:
        s3.put_object(Bucket=bucket, Key=key, Body=text.encode(), ACL="public-read")
    case ["delete", bucket, key]:
        s3.delete_object(Bucket=bucket, Key=key)
    case _:
        sys.exit(__doc__)
