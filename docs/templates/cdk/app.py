"""
A CDK app: `lambda-ric build --handler app.handler --python 3.13 --arch arm64`, then `cdk deploy`.
"""

from aws_cdk import App, CfnOutput, Duration, Stack
from aws_cdk import aws_lambda as lambda_

app = App()
stack = Stack(app, "AnswersFirst")

function = lambda_.Function(
    stack,
    "Function",
    code=lambda_.Code.from_asset("dist/function.zip"),  # as it is: bytecode and modes included
    handler="app.handler",
    runtime=lambda_.Runtime.PYTHON_3_13,
    architecture=lambda_.Architecture.ARM_64,
    memory_size=512,
    timeout=Duration.seconds(30),  # background work has to end before it; Lambda's default is 3
    environment={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap"},
)
url = function.add_function_url(
    auth_type=lambda_.FunctionUrlAuthType.AWS_IAM,
    invoke_mode=lambda_.InvokeMode.BUFFERED,  # RESPONSE_STREAM for handlers that stream
)
CfnOutput(stack, "Url", value=url.url)

app.synth()
