print("winsim")
