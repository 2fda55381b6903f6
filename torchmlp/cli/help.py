"""What `train.py --help` prints: one screen."""

HELP = """\
torchmlp: a multilayer perceptron with hand-written gradients, trained on images

  python train.py                                      train on MNIST, test the best checkpoint
  python train.py --accelerator gpu --precision bf16-mixed
  python train.py fit --config configs/mnist.yaml      the best recipe; several --config add up
  python train.py test --ckpt_path best                test the newest run's best checkpoint
  python train.py predict --ckpt_path FILE.ckpt        write class probabilities as CSV
  python train.py verify FILE.py:function              is your own backward pass right?
  python train.py diagnose --config X.yaml             why does a run fail, and what helps?
  python train.py map --config X.yaml                  which sizes, batches and rates train?
  python train.py fit --print_config                   every setting with its value, as YAML

Commands: fit (the default), validate, test, predict, and with a help of their own verify, map,
diagnose, report (train.py diagnose --help)

Short flags                     stand for
  --accelerator cpu|gpu|auto    --trainer.accelerator    --hidden 512 256     --model.hidden
  --devices N                   --trainer.devices        --activation NAME    --model.activation
  --precision 16-mixed|...      --trainer.precision      --init NAME          --model.init
  --max_epochs N                --trainer.max_epochs     --batch_size N       --data.batch_size
  --lr RATE                     --optimizer.lr           --data_root FOLDER   --data.root
  --seed N                      --seed_everything

Every other setting: python train.py fit --help
Exit codes: 0 done, 1 failed, 2 usage, 3 numerically sick, 130 Ctrl-C, 143 SIGTERM
"""
